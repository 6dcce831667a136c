//! How much counters of the roles have grown since a moment, as their operators would see it.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::Rig;

/// Counters of all roles of a rig at a moment, by role and name.
#[derive(Clone, Debug)]
pub struct Growth {
    before: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Growth {
    /// From now on. A role that does not run counts as zero.
    #[must_use]
    pub fn since_now(rig: &Rig) -> Self {
        let roles = rig.plan().server_names().into_iter().chain(["front".to_owned()]);
        Self { before: roles.map(|role| (role.clone(), read(rig, &role).unwrap_or_default())).collect() }
    }

    /// How much a counter of a role has grown. A role that was started anew counts from zero.
    ///
    /// # Errors
    /// If the role does not answer or has no such counter.
    pub fn of(&self, rig: &Rig, role: &str, name: &str) -> Result<u64> {
        Ok(self.growth(role, name, rig.counter(role, name)?))
    }

    /// The same, over all servers that run.
    ///
    /// # Errors
    /// If they have no such counter.
    pub fn of_servers(&self, rig: &Rig, name: &str) -> Result<u64> {
        let servers = rig.plan().server_names();
        let running = servers.iter().filter_map(|server| Some((server, read(rig, server)?)));
        let of = |(server, now): (&String, BTreeMap<String, u64>)| {
            let now = now.get(name).ok_or_else(|| anyhow!("{server} has no counter {name}"))?;
            Ok(self.growth(server, name, *now))
        };
        running.map(of).sum()
    }

    /// All counters of a role that have grown; none if it does not run.
    #[must_use]
    pub fn all_of(&self, rig: &Rig, role: &str) -> BTreeMap<String, u64> {
        let now = read(rig, role).unwrap_or_default().into_iter();
        let grown = now.map(|(name, now)| (self.growth(role, &name, now), name));
        grown.filter(|(value, _)| *value > 0).map(|(value, name)| (name, value)).collect()
    }

    fn growth(&self, role: &str, name: &str, now: u64) -> u64 {
        let before = self.before.get(role).and_then(|counters| counters.get(name)).copied().unwrap_or(0);
        if now >= before { now - before } else { now }
    }
}

fn read(rig: &Rig, role: &str) -> Option<BTreeMap<String, u64>> {
    let rows = rig.show(role, "counters").ok()?;
    let pair = |row: &Value| Some((row["name"].as_str()?.to_owned(), row["value"].as_u64()?));
    rows.iter().map(pair).collect()
}

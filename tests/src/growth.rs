//! How much counters of the roles have grown since a moment, as their operators would see it.

use std::collections::BTreeMap;

use anyhow::Result;
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
        let now = rig.counter(role, name)?;
        let before = self.before.get(role).and_then(|counters| counters.get(name)).copied().unwrap_or(0);
        Ok(if now >= before { now - before } else { now })
    }

    /// The same, over all servers that run.
    ///
    /// # Errors
    /// If they have no such counter.
    pub fn of_servers(&self, rig: &Rig, name: &str) -> Result<u64> {
        let servers = rig.plan().server_names();
        let running = servers.iter().filter(|server| read(rig, server).is_some());
        running.map(|server| self.of(rig, server, name)).sum()
    }

    /// All counters of a role that have grown.
    #[must_use]
    pub fn all_of(&self, rig: &Rig, role: &str) -> BTreeMap<String, u64> {
        let names = read(rig, role).unwrap_or_default().into_keys();
        let grown = names.filter_map(|name| Some((self.of(rig, role, &name).ok()?, name)));
        grown.filter(|(value, _)| *value > 0).map(|(value, name)| (name, value)).collect()
    }
}

fn read(rig: &Rig, role: &str) -> Option<BTreeMap<String, u64>> {
    let rows = rig.show(role, "counters").ok()?;
    let pair = |row: &Value| Some((row["name"].as_str()?.to_owned(), row["value"].as_u64()?));
    rows.iter().map(pair).collect()
}

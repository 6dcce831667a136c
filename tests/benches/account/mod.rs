//! The kernel's account of programs: how often each ran and how long. Taking it costs every run two looks at the clock.

use std::{collections::HashSet, os::fd::OwnedFd};

use anyhow::{Context, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

/// The kernel accounts as long as it lives.
pub(crate) struct Accounting {
    others: HashSet<u32>,
    _enabled: OwnedFd,
}

/// Programs that were loaded between two moments: those of a rig.
pub(crate) struct Programs(HashSet<u32>);

/// Of all programs of one name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    ns: u128,
    pub(crate) runs: u64,
}

impl Accounting {
    pub(crate) fn start() -> Result<Self> {
        let enabled = enable_stats(Stats::RunTime).context("the kernel does not account programs")?;
        Ok(Self { others: loaded()?, _enabled: enabled })
    }

    /// Those that were loaded since; not those of other rigs that come later.
    pub(crate) fn programs(&self) -> Result<Programs> {
        Ok(Programs(loaded()?.difference(&self.others).copied().collect()))
    }
}

impl Programs {
    pub(crate) fn account(&self, name: &str) -> Result<Account> {
        let mut account = Account::default();
        for program in loaded_programs() {
            let program = program?;
            if program.name_as_str() == Some(name) && self.0.contains(&program.id()) {
                account.ns += program.run_time().as_nanos();
                account.runs += program.run_count();
            }
        }
        Ok(account)
    }
}

impl Account {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { ns: self.ns - before.ns, runs: self.runs - before.runs }
    }

    /// Nanoseconds; 0 if there was no run.
    pub(crate) fn mean_ns(self) -> f64 {
        self.ns as f64 / self.runs.max(1) as f64
    }
}

fn loaded() -> Result<HashSet<u32>> {
    loaded_programs().map(|program| Ok(program?.id())).collect()
}

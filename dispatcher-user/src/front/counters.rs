//! The control plane's own counters: one atomic each, shared by its threads.

use std::sync::atomic::{AtomicU64, Ordering};

use dispatcher_common::counter::ControlCounter;

/// All [`ControlCounter`]s, starting at zero with the process.
#[derive(Debug)]
pub struct ControlCounters(Vec<AtomicU64>);

impl Default for ControlCounters {
    fn default() -> Self {
        Self(ControlCounter::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl ControlCounters {
    pub fn add(&self, counter: ControlCounter, amount: u64) {
        self.0[counter.index() as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub fn increment(&self, counter: ControlCounter) {
        self.add(counter, 1);
    }

    #[must_use]
    pub fn get(&self, counter: ControlCounter) -> u64 {
        self.0[counter.index() as usize].load(Ordering::Relaxed)
    }
}

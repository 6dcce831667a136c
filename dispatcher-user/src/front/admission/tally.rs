//! What the control plane decided about requests, by priority.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dispatcher_common::limits::PRIORITIES;

/// The counts of one configured service.
#[derive(Debug, Default)]
pub struct Tallies([PriorityTally; PRIORITIES]);

/// The counts of one priority.
#[derive(Debug, Default)]
pub struct PriorityTally {
    admitted: AtomicU64,
    refused_first: AtomicU64,
    evicted: AtomicU64,
    answered: AtomicU64,
    wait_ns: AtomicU64,
}

impl Tallies {
    /// The counts of a priority.
    #[must_use]
    pub fn of(&self, priority: u8) -> &PriorityTally {
        &self.0[usize::from(priority) % PRIORITIES]
    }
}

impl PriorityTally {
    pub(super) fn admit(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refuse_first(&self) {
        self.refused_first.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn evict(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer(&self, wait: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.wait_ns.fetch_add(wait.as_nanos() as u64, Ordering::Relaxed);
    }

    /// First requests that were dispatched.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// First requests that the slow path refused. Those on kept connections are counted where they are noticed, in the kernel.
    #[must_use]
    pub fn refused_first(&self) -> u64 {
        self.refused_first.load(Ordering::Relaxed)
    }

    /// Flows that gave way.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
    /// Responses whose beginning the slow path saw acknowledged, and the sum of the waits for them in nanoseconds. The kernel's
    /// program counts the others.
    #[must_use]
    pub fn answered(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.wait_ns.load(Ordering::Relaxed))
    }
}

//! Counters before and after a test. What a test has to move is in one table, `counters::REACHED`.

use std::{
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{Growth, Rig};

use crate::{
    counters::{self, Counter},
    stage::test_name,
};

/// Servers count when a packet passes, the control plane a moment later.
const PATIENCE: Duration = Duration::from_secs(3);

/// Values at the start.
pub(crate) struct Watch {
    growth: Growth,
}

impl Watch {
    pub(crate) fn start(rig: &Rig) -> Self {
        Self { growth: Growth::since_now(rig) }
    }

    /// How much a counter of a role has grown. A role that was started anew counts from zero.
    pub(crate) fn of(&self, rig: &Rig, role: &str, name: &str) -> u64 {
        self.growth.of(rig, role, name).unwrap()
    }

    /// How much a counter has grown, over all servers for one of theirs.
    pub(crate) fn moved(&self, rig: &Rig, counter: impl Into<Counter>) -> u64 {
        match counter.into() {
            Counter::Front(counter) => self.of(rig, "front", counter.name()),
            Counter::Control(counter) => self.of(rig, "front", counter.name()),
            Counter::Back(counter) => self.growth.of_servers(rig, counter.name()).unwrap(),
        }
    }

    /// First requests that went to a server, by the class cache or the slow path.
    pub(crate) fn dispatched(&self, rig: &Rig) -> u64 {
        self.moved(rig, FrontCounter::RequestQuick) + self.moved(rig, ControlCounter::Dispatched)
    }

    /// Waits until a counter has grown by at least `least`.
    pub(crate) fn until(&self, rig: &Rig, counter: impl Into<Counter>, least: u64) {
        let counter = counter.into();
        let start = Instant::now();
        loop {
            let moved = self.moved(rig, counter);
            if moved >= least {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{counter:?} moved by {moved}, not by {least}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Checks that every counter that the table promises for this test has moved.
    pub(crate) fn finish(self, rig: &Rig) {
        let name = test_name();
        let promised = counters::reached_by(&name);
        assert!(!promised.is_empty(), "counters::REACHED promises nothing of {name}");
        let start = Instant::now();
        loop {
            let still: Vec<_> = promised.iter().filter(|counter| self.moved(rig, **counter) == 0).collect();
            if still.is_empty() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "these counters did not move: {still:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

//! The front-end's own dispatches to one server that no report includes yet. Without them all decisions between
//! two reports would herd on one server. Owns the account; the reported load is `server`'s.
//!
//! A report says how many tickets its server has accepted. The increase since the report before it takes that many of
//! the oldest dispatches off the account, because the report's own R, q and T hold them from now on (or they
//! are done). A dispatch whose ticket never arrived is taken off by age. With several front-ends the increase also counts
//! the others' tickets, so the account may then end early, never late.
//!
//! Between reports a server is believed to work: what it has had time for counts no more. It stays on the account, because the
//! next report's increase counts it too.

use std::{collections::VecDeque, time::Duration};

use crate::ids::ClassId;

/// Most dispatches of the account: above 600 000 requests/s on one server at 100 ms. Older ones are let go.
const MAX_OUTSTANDING: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Dispatch {
    at: Duration,
    class: ClassId,
    service_us: u32,
}

/// Dispatches in the order in which they were made, with their sums.
#[derive(Debug, Clone, Default)]
pub(super) struct Outstanding {
    dispatches: VecDeque<Dispatch>,
    /// So many of the oldest are believed to be done.
    done: usize,
    /// Work spent on the one after them.
    begun_us: u64,
    /// Of those that are not done.
    held: Vec<u32>,
    load_us: u64,
}

impl Outstanding {
    pub(super) fn new(class_count: usize) -> Self {
        Self { held: vec![0; class_count], ..Self::default() }
    }

    /// Notes a dispatch that is expected to take `service_us`.
    pub(super) fn add(&mut self, class: ClassId, service_us: u32, at: Duration) {
        let Some(held) = self.held.get_mut(class.index()) else { return };
        *held += 1;
        self.load_us += u64::from(service_us);
        self.dispatches.push_back(Dispatch { at, class, service_us });
        if self.dispatches.len() > MAX_OUTSTANDING {
            self.take_oldest(1);
        }
    }

    /// Takes off the `count` oldest.
    pub(super) fn take_oldest(&mut self, count: u64) {
        for _ in 0..count {
            let Some(dispatch) = self.dispatches.pop_front() else { return };
            if self.done > 0 {
                self.done -= 1;
                continue;
            }
            self.begun_us = 0;
            self.held[dispatch.class.index()] -= 1;
            self.load_us -= u64::from(dispatch.service_us);
        }
    }

    /// Believes the server to have worked for so long on the dispatches, oldest first.
    pub(super) fn serve(&mut self, work_us: u64) {
        self.begun_us = self.begun_us.saturating_add(work_us);
        while let Some(dispatch) = self.dispatches.get(self.done) {
            let service_us = u64::from(dispatch.service_us);
            if self.begun_us < service_us {
                return;
            }
            self.begun_us -= service_us;
            self.held[dispatch.class.index()] -= 1;
            self.load_us -= service_us;
            self.done += 1;
        }
        self.begun_us = 0;
    }

    /// A report has come: what is still on the account has not even arrived, so it cannot be done.
    pub(super) fn doubt(&mut self) {
        for dispatch in self.dispatches.iter().take(self.done) {
            self.held[dispatch.class.index()] += 1;
            self.load_us += u64::from(dispatch.service_us);
        }
        (self.done, self.begun_us) = (0, 0);
    }

    /// Takes off those made before `moment`.
    pub(super) fn take_before(&mut self, moment: Duration) {
        let old = self.dispatches.iter().take_while(|dispatch| dispatch.at < moment).count();
        self.take_oldest(old as u64);
    }

    pub(super) fn clear(&mut self) {
        self.take_oldest(u64::MAX);
    }

    pub(super) fn held(&self, class: ClassId) -> u32 {
        self.held.get(class.index()).copied().unwrap_or(0)
    }

    pub(super) fn queue(&self) -> u32 {
        (self.dispatches.len() - self.done) as u32
    }

    pub(super) fn load_us(&self) -> u64 {
        self.load_us - self.begun_us
    }
}

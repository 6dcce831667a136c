//! Fig. 7 of the paper: a request goes to its class's own server, unless that one holds T_load more than the least busy. A class
//! with several servers has the least loaded of them as its own.

use super::{Decision, Least, outcome};

/// What the decision needs to know of a service's servers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Of all servers; where load is equal, the one that fewer classes are bound to.
    pub least: Least,
    /// Of the class's.
    pub own: Least,
}

impl Bound {
    /// Takes the next eligible server, in order of ids, with the number of classes that are bound to it and whether this one is.
    #[inline(always)]
    pub const fn offer(&mut self, server: u16, load_us: u64, bound_classes: u32, is_own: bool) {
        self.least.offer(server, load_us, bound_classes);
        if is_own {
            self.own.offer(server, load_us, 0);
        }
    }

    /// Decides; `None` when no server of the class is eligible.
    #[inline(always)]
    #[must_use]
    pub const fn decide(&self, t_load_us: u64) -> Option<Decision> {
        let (Some(own), Some(least)) = (self.own.server(), self.least.server()) else { return None };
        if self.own.load_us - self.least.load_us > t_load_us {
            Some(Decision { server: least, outcome: outcome::MOVED })
        } else {
            Some(Decision { server: own, outcome: outcome::HIT })
        }
    }
}

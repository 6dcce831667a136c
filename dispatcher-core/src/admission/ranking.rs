//! Who goes first among flows of one adjusted priority. Owns the order and who is spared altogether.
//!
//! First kept connections with nothing to do, the longest idle first; then requests without a response, the latest first, for it
//! has waited least in vain; flows in the middle of a response only if the operator says so, the youngest first.

use std::{cmp::Reverse, time::Duration};

use super::{EvictionSettings, FlowView};

/// A place in the order; the smallest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Idle for so long.
    Idle(Reverse<Duration>),
    /// Waiting for so long.
    Waiting(Duration),
    /// In the middle of a response; admitted so long ago.
    Responding(Duration),
}

/// The flow's place; `None` if it is spared.
#[must_use]
pub fn rank(flow: &FlowView, settings: &EvictionSettings) -> Option<Rank> {
    if flow.age < settings.min_age {
        return None;
    }
    match flow.waiting {
        Some(waiting) => Some(Rank::Waiting(waiting)),
        None if flow.idle >= settings.idle_after => Some(Rank::Idle(Reverse(flow.idle))),
        None => settings.mid_response.then_some(Rank::Responding(flow.age)),
    }
}

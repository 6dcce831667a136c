//! What of a filter matters to admission, with times as durations. Owns the reading of the kernel's stamps; what follows from
//! them is `adjusting`'s and `ranking`'s.

use std::time::Duration;

use dispatcher_common::filter::{Filter, state};

use crate::ids::Priority;

/// A flow that a server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowView {
    /// The priority it was admitted with.
    pub priority: Priority,
    /// Time since it was admitted.
    pub age: Duration,
    /// Time since the client's latest segment.
    pub idle: Duration,
    /// Time since the latest request began, while there is no response.
    pub waiting: Option<Duration>,
    /// Time from the latest request to its response, once it began to arrive.
    pub delay: Option<Duration>,
}

impl FlowView {
    /// `None` unless a server holds the flow: pending ones have no server yet, closing ones go by themselves.
    #[must_use]
    pub fn of(filter: &Filter, now_ns: u64) -> Option<Self> {
        let between = |from_ns: u64, to_ns: u64| Duration::from_nanos(to_ns.saturating_sub(from_ns));
        let is_waiting = filter.response_ns == 0;
        (filter.state == state::ESTABLISHED).then(|| Self {
            priority: Priority::new(filter.priority).unwrap_or(Priority::HIGHEST),
            age: between(filter.created_ns, now_ns),
            idle: between(filter.last_seen_ns, now_ns),
            waiting: is_waiting.then(|| between(filter.request_ns, now_ns)),
            delay: (!is_waiting).then(|| between(filter.request_ns, filter.response_ns)),
        })
    }
}

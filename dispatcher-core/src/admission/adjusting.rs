//! The priority that a flow has now, from the one it was admitted with and its state. Owns that one rule:
//!
//! While the service is overloaded, a flow loses one level for each `idle_step` of silence after its response, at most
//! `idle_levels`, and gains one for each `delay_step` that its latest request has waited, at most `delay_levels`. So a flow
//! that does nothing gives way sooner, and one that has suffered later. Otherwise it has the priority it was admitted with.

use std::time::Duration;

use super::{AdjustSettings, FlowView, Pressure};
use crate::ids::Priority;

/// The priority of `flow` now.
#[must_use]
pub fn adjusted(flow: &FlowView, settings: &AdjustSettings, pressure: Pressure) -> Priority {
    if !pressure.overloaded {
        return flow.priority;
    }
    // A client that waits is silent through no fault of its own.
    let idle = if flow.waiting.is_some() { Duration::ZERO } else { flow.idle };
    let delay = flow.waiting.or(flow.delay).unwrap_or_default();
    let lowered = flow.priority.get().saturating_sub(levels(idle, settings.idle_step, settings.idle_levels));
    let raised = lowered.saturating_add(levels(delay, settings.delay_step, settings.delay_levels));
    Priority::new(raised).unwrap_or(Priority::HIGHEST)
}

fn levels(time: Duration, step: Duration, most: u8) -> u8 {
    let steps = time.as_nanos().checked_div(step.as_nanos()).unwrap_or(0);
    u8::try_from(steps).unwrap_or(u8::MAX).min(most)
}

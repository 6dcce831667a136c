//! Admission of one service: when it is overloaded, and who gives way to whom (Fig. 3 of the paper with its guard rails). Owns
//! decisions from numbers that the caller has; the rule itself is [`AdmissionEntry::judge`], which the kernel's program runs
//! too, and the numbers live in maps.
//!
//! [`AdmissionEntry::judge`]: dispatcher_common::admission::AdmissionEntry::judge

mod adjusting;
mod budget;
mod flow;
mod overload;
mod ranking;
mod settings;
#[cfg(test)]
mod tests;
mod victims;

pub use adjusting::adjusted;
pub use budget::{EvictionBudget, MAX_PREFIXES, OverBudget};
pub use flow::FlowView;
pub use overload::{Causes, Overload, Pressure, gate};
pub use ranking::{Rank, rank};
pub use settings::{AdjustSettings, AdmissionSettings, ConnectionLimit, EvictionSettings, SourceLimits, Way};
pub use victims::{READY_PER_PRIORITY, Victim, VictimCollector, Victims};

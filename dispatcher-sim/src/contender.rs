//! Who competes: a policy with its parameters and its number of classes, under a name for tables and legends.

use dispatcher_core::policy::PolicySettings;

/// A policy in a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// What tables and legends call it.
    pub label: String,
    /// The policy.
    pub policy: PolicySettings,
    /// K.
    pub classes: u16,
}

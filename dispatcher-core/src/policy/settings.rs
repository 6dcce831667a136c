//! Which policy a service has and with which parameters: from a configured name to a policy. Owns the names.

use thiserror::Error;

use super::{
    BindTable, BoundedHash, Context, Hash, JoinIdleQueue, Lard, LardR, LardSettings, LoadThreshold, Policy,
    Prequal, PrequalSettings, Random, RoundRobin, TableKind, TwoChoices, Weighted, WeightedRoundRobin,
};
use crate::ids::ClassId;

/// All names that a configuration may give.
pub const NAMES: &[&str] = &[
    Context::NAME,
    Lard::NAME,
    LardR::NAME,
    RoundRobin::NAME,
    WeightedRoundRobin::NAME,
    Hash::NAME,
    BoundedHash::NAME,
    Random::NAME,
    TwoChoices::NAME,
    JoinIdleQueue::NAME,
    Prequal::NAME,
];

/// Which policy a service has, and its parameters. Parameters of other policies are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// One of [`NAMES`].
    pub name: String,
    /// How `context` keeps its table.
    pub table: TableKind,
    /// T_load of `context`; `None` for the table's own.
    pub load_threshold: Option<LoadThreshold>,
    /// Limits of `lard` and `lard-r`.
    pub lard: LardSettings,
    /// How much of its even share `bounded-hash` lets a server hold, in percent.
    pub balance_factor_percent: u32,
    /// Parameters of `prequal`.
    pub prequal: PrequalSettings,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            name: Context::NAME.into(),
            table: TableKind::default(),
            load_threshold: None,
            lard: LardSettings::default(),
            balance_factor_percent: 125,
            prequal: PrequalSettings::default(),
        }
    }
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown policy {name:?}; use one of: {}", NAMES.join(", "))]
pub struct UnknownPolicy {
    /// The name that was given.
    pub name: String,
}

impl PolicySettings {
    /// T_load of `context`: as set, else the table's own.
    #[must_use]
    pub fn load_threshold(&self) -> LoadThreshold {
        self.load_threshold.unwrap_or_else(|| self.table.load_threshold())
    }

    /// Builds the policy for a service with `class_count` classes from `base` on.
    ///
    /// # Errors
    /// When no policy has the name.
    pub fn build(&self, base: ClassId, class_count: usize) -> Result<Box<dyn Policy>, UnknownPolicy> {
        let policy: Box<dyn Policy> = match self.name.as_str() {
            Context::NAME if self.table == TableKind::Weighted => {
                Box::new(Weighted::new(self.load_threshold()))
            }
            Context::NAME => {
                let table = BindTable::new(self.table, base, class_count);
                Box::new(Context::new(table, self.load_threshold()))
            }
            Lard::NAME => Box::new(Lard::new(self.lard)),
            LardR::NAME => Box::new(LardR::new(self.lard)),
            RoundRobin::NAME => Box::<RoundRobin>::default(),
            WeightedRoundRobin::NAME => Box::<WeightedRoundRobin>::default(),
            Hash::NAME => Box::<Hash>::default(),
            BoundedHash::NAME => Box::new(BoundedHash::new(self.balance_factor_percent)),
            Random::NAME => Box::<Random>::default(),
            TwoChoices::NAME => Box::<TwoChoices>::default(),
            JoinIdleQueue::NAME => Box::<JoinIdleQueue>::default(),
            Prequal::NAME => Box::new(Prequal::new(self.prequal)),
            _ => return Err(UnknownPolicy { name: self.name.clone() }),
        };
        Ok(policy)
    }
}

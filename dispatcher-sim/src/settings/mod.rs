//! Every parameter of a simulation, as fields and as flags. Owns the defaults: those of the paper, and where it is
//! silent those of `docs/simulation.md`. What a parameter does is the business of the module that reads it.

mod cluster;
mod front;
mod incident;
mod run;
mod workload;

use clap::{Args, Parser};

pub use cluster::{CacheKind, ClusterSettings, NoSuchServer};
pub use front::{FrontSettings, Limit, OverLimit, WhenFull};
pub use incident::{Failure, Slowdown};
pub use run::RunSettings;
pub use workload::{ArrivalKind, PopularityKind, WorkloadSettings};

/// One simulation, but for the policy.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Settings {
    /// The servers.
    #[command(flatten)]
    pub cluster: ClusterSettings,
    /// The clients and what they ask for.
    #[command(flatten)]
    pub workload: WorkloadSettings,
    /// The front-end, but for the policy.
    #[command(flatten)]
    pub front: FrontSettings,
    /// Seed and length.
    #[command(flatten)]
    pub run: RunSettings,
}

impl Default for Settings {
    /// What all flags have when none is given.
    fn default() -> Self {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            settings: Settings,
        }
        Flags::parse_from(["simulate"]).settings
    }
}

//! Seed and length of a run.
//! How random numbers come of the seed is `random`'s.

use clap::Args;

/// Seed and length.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Run")]
pub struct RunSettings {
    /// Seed of all random numbers; the same seed gives the same output on any machine
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Requests before anything is measured, to fill the caches
    #[arg(long, value_name = "REQUESTS", default_value_t = 30_000)]
    pub warm_up: u64,
    /// Requests that are measured
    #[arg(long, value_name = "REQUESTS", default_value_t = 100_000)]
    pub requests: u64,
}

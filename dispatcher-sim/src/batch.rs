//! Many runs at once, on all cores. What comes out does not depend on how many there are.
//! Owns no run: that is `run`.

use dispatcher_core::policy::UnknownPolicy;
use rayon::prelude::*;

use crate::{
    contender::Contender,
    run::{self, Outcome},
    settings::Settings,
};

/// One run to be done.
#[derive(Debug, Clone)]
pub struct Job {
    /// All but the policy.
    pub settings: Settings,
    /// The policy.
    pub contender: Contender,
}

/// Outcomes in the order of `jobs`. `done` is called after each run, on any thread.
///
/// # Errors
/// When a policy does not exist.
pub fn run_all(jobs: &[Job], done: &(dyn Fn() + Sync)) -> Result<Vec<Outcome>, UnknownPolicy> {
    jobs.par_iter()
        .with_max_len(1)
        .map(|job| {
            let outcome = run::run(&job.settings, &job.contender);
            done();
            outcome
        })
        .collect()
}

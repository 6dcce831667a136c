//! What it costs to choose a server for each request of a kept connection: requests that stay beside connections that nobody follows,
//! requests that move beside HAProxy. Owns the order of things; all subjects run alternately in one run, so that noise of the machine
//! meets all alike.

mod case;
mod finding;
mod sample;
mod subject;

use std::time::Duration;

use anyhow::{Context, Result};
use tests::Noise;

use self::{
    case::Case,
    sample::Sample,
    subject::{Stage, Subject},
};

/// For each case and subject; two minutes in all.
const ROUNDS: usize = 4;
const TIME: Duration = Duration::from_secs(2);

/// Before the rounds of a case, so that caches, neighbours and bindings are there.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    if tests::skipped("per_request") {
        return Ok(());
    }
    let stage = Stage::set()?;
    let noise = Noise::listen()?;
    let mut outcomes = Vec::new();
    for case in Case::chosen() {
        for subject in Subject::chosen(case) {
            run(&stage, subject, case, WARM_UP, noise)?;
        }
        for round in 1..=rounds() {
            for subject in Subject::chosen(case) {
                let sample = run(&stage, subject, case, TIME, noise)?;
                println!("{round} {}, {}: {sample}", case.name(), subject.name());
                outcomes.push(Outcome { case, subject, round, sample });
            }
        }
    }
    finding::section(&outcomes, noise)?.publish()
}

fn run(stage: &Stage, subject: Subject, case: Case, time: Duration, noise: Noise) -> Result<Sample> {
    sample::take(stage, subject, case, time, noise)
        .with_context(|| format!("{}, {}", subject.name(), case.name()))
}

/// One run.
struct Outcome {
    case: Case,
    subject: Subject,
    round: usize,
    sample: Sample,
}

/// DISPATCHER_ROUNDS takes another number, for a quick look.
fn rounds() -> usize {
    let chosen = std::env::var("DISPATCHER_ROUNDS").ok();
    chosen.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

//! Requests a second, latency and CPU time, side by side: direct to one nginx, through the dispatcher, through HAProxy, through nginx.
//! Owns the order of things; all subjects run alternately in one run, so that noise of the machine meets all alike.

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

/// For each case and subject; four minutes and a half in all.
const ROUNDS: usize = 6;
const TIME: Duration = Duration::from_secs(2);

/// Before the rounds of a case, so that connections, caches and neighbours are there.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    if tests::skipped("side_by_side") {
        return Ok(());
    }
    let stage = Stage::set()?;
    let noise = Noise::listen()?;
    let mut outcomes = Vec::new();
    for case in Case::chosen() {
        for subject in Subject::chosen() {
            sample::take(&stage, subject, case, WARM_UP, noise)?;
        }
        for round in 1..=rounds() {
            for subject in Subject::chosen() {
                let sample = sample::take(&stage, subject, case, TIME, noise)
                    .with_context(|| format!("{}, {}", subject.name(), case.name()))?;
                println!("{round} {}, {}: {sample}", case.name(), subject.name());
                outcomes.push(Outcome { case, subject, round, sample });
            }
        }
    }
    finding::section(&outcomes, noise)?.publish()
}

/// One run.
struct Outcome {
    case: Case,
    subject: Subject,
    round: usize,
    sample: Sample,
}

/// DISPATCHER_ROUNDS takes fewer, for a quick look.
fn rounds() -> usize {
    let chosen = std::env::var("DISPATCHER_ROUNDS").ok();
    chosen.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

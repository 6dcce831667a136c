//! The paper's claim with real servers: each caches a third of a site that all of them together have room for, in front of an
//! origin that is slow. Owns the order of things: each subject in turn begins with empty caches, is measured, and is measured
//! again with a server that has become slow. Then the same with clients that keep their connections.

mod finding;
mod kept;
mod measure;
mod subject;
mod workload;

use anyhow::{Context, Result};

use self::{
    measure::{Sample, Session},
    subject::{Stage, Subject},
};

/// In each, another server becomes slow.
const ROUNDS: usize = 3;

/// What was measured of a subject in a round.
pub(crate) struct Measured {
    pub(crate) subject: Subject,
    /// All servers alike, and, where clients do not keep connections, one of them slow.
    pub(crate) samples: Vec<Sample>,
}

fn main() -> Result<()> {
    if tests::skipped("locality") {
        return Ok(());
    }
    let mut stage = Stage::set()?;
    let mut measured = Vec::new();
    for round in 0..rounds() {
        for subject in Subject::chosen() {
            let session = Session { round, subject };
            let samples = session
                .run(&mut stage)
                .with_context(|| format!("{}, round {}", subject.name(), round + 1))?;
            measured.push(Measured { subject, samples });
        }
    }
    finding::publish(&measured, rounds())
}

/// DISPATCHER_ROUNDS takes another number, for a quick look.
fn rounds() -> usize {
    std::env::var("DISPATCHER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

//! One run of wrk, what all of the machine's CPUs did meanwhile, and how many of the requests moved.

use std::{fmt, time::Duration};

use anyhow::{Context, Error, Result};
use serde_json::Value;
use tests::{CpuTime, Noise, Rig, Wrk};

use crate::{
    case::Case,
    subject::{Stage, Subject},
};

/// Connections of each run. Of round-robin's turns over three servers a connection gets every sixteenth, when all are as quick as each
/// other: each time the next server.
pub(crate) const CONNECTIONS: u32 = 16;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of the whole machine, for a request.
    pub(crate) cpu_us: f64,
    /// Parts of the requests, by the dispatcher's counters.
    pub(crate) parts: Option<Parts>,
}

/// Parts of the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Chosen for, and meant for the server that has their connection.
    pub(crate) stayed: f64,
    /// Handed to another server, with their connection.
    pub(crate) moved: f64,
    /// For another server, but their own was not free.
    pub(crate) kept_busy: f64,
    /// Given to the slow path.
    pub(crate) asked: f64,
}

/// The front-end's counters.
struct Counts(Vec<Value>);

impl Counts {
    fn read(rig: &Rig) -> Result<Self> {
        Ok(Self(rig.show("front", "counters")?))
    }

    fn value(&self, name: &str) -> Result<u64> {
        let row = self.0.iter().find(|row| row["name"] == name);
        row.and_then(|row| row["value"].as_u64()).with_context(|| format!("there is no counter {name}"))
    }

    /// Of so many requests since `before`.
    fn parts(&self, before: &Self, requests: u64) -> Result<Parts> {
        let part = |name| Ok::<_, Error>((self.value(name)? - before.value(name)?) as f64 / requests as f64);
        Ok(Parts {
            stayed: part("further_stayed")? + part("further_stayed_slow")?,
            moved: part("move_released")?,
            kept_busy: part("move_kept_busy")?,
            asked: part("further_asked")?,
        })
    }
}

pub(crate) fn take(
    stage: &Stage,
    subject: Subject,
    case: Case,
    time: Duration,
    noise: Noise,
) -> Result<Sample> {
    let wrk = Wrk { connections: CONNECTIONS, time, close: false };
    let url = stage.url(subject) + case.path();
    let client = stage.client(subject)?;
    let counts = || subject.is_ours().then(|| Counts::read(stage.rig(subject))).transpose();
    let before = counts()?;
    let meter = CpuTime::start()?;
    let report = wrk.run(client, &url)?;
    let cpu_us = noise.cpu_us(&meter, report.requests)?;
    let parts = before.zip(counts()?).map(|(before, after)| after.parts(&before, report.requests));
    Ok(Sample {
        rate: report.rate,
        p50_ms: report.p50.as_secs_f64() * 1e3,
        p99_ms: report.p99.as_secs_f64() * 1e3,
        cpu_us,
        parts: parts.transpose()?,
    })
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50_ms, p99_ms, cpu_us, parts } = self;
        write!(
            f,
            "{rate:.0} requests/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {cpu_us:.1} µs CPU a request"
        )?;
        let Some(Parts { stayed, moved, kept_busy, asked }) = parts else { return Ok(()) };
        let [stayed, moved, kept_busy, asked] = [stayed, moved, kept_busy, asked].map(|part| part * 100.0);
        write!(
            f,
            ", {stayed:.1} % stayed, {moved:.1} % moved, {kept_busy:.1} % kept busy, {asked:.1} % by the slow path"
        )
    }
}

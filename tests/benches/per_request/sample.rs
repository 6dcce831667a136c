//! One run of wrk, what all of the machine's CPUs did meanwhile, and how many of the requests moved.

use std::{fmt, time::Duration};

use anyhow::Result;
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
    /// Handed to another server, with their connection.
    pub(crate) moved: f64,
    /// For another server, but their own was not free.
    pub(crate) kept_busy: f64,
    /// Given to the slow path.
    pub(crate) asked: f64,
}

/// The front-end's counters of the parts.
#[derive(Clone, Copy)]
struct Counts([u64; 3]);

impl Counts {
    const NAMES: [&str; 3] = ["move_released", "move_kept_busy", "further_asked"];

    fn read(rig: &Rig) -> Result<Self> {
        let [moved, kept_busy, asked] = Self::NAMES.map(|name| rig.counter("front", name));
        Ok(Self([moved?, kept_busy?, asked?]))
    }

    fn parts(self, before: Self, requests: u64) -> Parts {
        let part = |index: usize| (self.0[index] - before.0[index]) as f64 / requests as f64;
        Parts { moved: part(0), kept_busy: part(1), asked: part(2) }
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
    let both = before.zip(counts()?);
    Ok(Sample {
        rate: report.rate,
        p50_ms: report.p50.as_secs_f64() * 1e3,
        p99_ms: report.p99.as_secs_f64() * 1e3,
        cpu_us,
        parts: both.map(|(before, after)| after.parts(before, report.requests)),
    })
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50_ms, p99_ms, cpu_us, parts } = self;
        write!(
            f,
            "{rate:.0} requests/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {cpu_us:.1} µs CPU a request"
        )?;
        let Some(Parts { moved, kept_busy, asked }) = parts else { return Ok(()) };
        let [moved, kept_busy, asked] = [moved, kept_busy, asked].map(|part| part * 100.0);
        write!(f, ", {moved:.1} % moved, {kept_busy:.1} % kept busy, {asked:.1} % by the slow path")
    }
}

//! One run of wrk, and what all of the machine's CPUs did meanwhile.

use std::{fmt, thread, time::Duration};

use anyhow::Result;
use tests::{CpuTime, Wrk};

use crate::{
    case::Case,
    subject::{Stage, Subject},
};

const LISTENING: Duration = Duration::from_secs(3);

/// What a machine does that has nothing to do: CPU time a second, all rigs included, as they stand by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise(pub(crate) f64);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of the whole machine, for a request.
    pub(crate) cpu_us: f64,
}

impl Noise {
    pub(crate) fn listen() -> Result<Self> {
        let meter = CpuTime::start()?;
        thread::sleep(LISTENING);
        Ok(Self(meter.spent()?.as_secs_f64() / meter.elapsed().as_secs_f64()))
    }
}

pub(crate) fn take(
    stage: &Stage,
    subject: Subject,
    case: Case,
    time: Duration,
    noise: Noise,
) -> Result<Sample> {
    let wrk = Wrk { connections: case.connections(), time, close: case.close() };
    let url = stage.url(subject)? + case.path();
    let client = stage.client(subject)?;
    let meter = CpuTime::start()?;
    let report = wrk.run(client, &url)?;
    let spent = meter.spent()?.as_secs_f64() - noise.0 * meter.elapsed().as_secs_f64();
    Ok(Sample {
        rate: report.rate,
        p50_ms: report.p50.as_secs_f64() * 1e3,
        p99_ms: report.p99.as_secs_f64() * 1e3,
        cpu_us: spent * 1e6 / report.requests as f64,
    })
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50_ms, p99_ms, cpu_us } = self;
        write!(
            f,
            "{rate:.0} requests/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {cpu_us:.1} µs CPU a request"
        )
    }
}

//! One run of wrk, and what all of the machine's CPUs did meanwhile.

use std::{fmt, time::Duration};

use anyhow::Result;
use tests::{CpuTime, Noise, Wrk};

use crate::{
    case::Case,
    subject::{Stage, Subject},
};

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of the whole machine, for a request.
    pub(crate) cpu_us: f64,
    /// Of a request, that pass a dispatcher on their way to the server.
    pub(crate) packets: Option<f64>,
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
    let packets = stage.packets(subject)?;
    let meter = CpuTime::start()?;
    let report = wrk.run(client, &url)?;
    let cpu_us = noise.cpu_us(&meter, report.requests)?;
    let packets = packets.zip(stage.packets(subject)?).map(|(before, after)| after - before);
    Ok(Sample {
        rate: report.rate,
        p50_ms: report.p50.as_secs_f64() * 1e3,
        p99_ms: report.p99.as_secs_f64() * 1e3,
        cpu_us,
        packets: packets.map(|packets| packets as f64 / report.requests as f64),
    })
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50_ms, p99_ms, cpu_us, .. } = self;
        write!(
            f,
            "{rate:.0} requests/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {cpu_us:.1} µs CPU a request"
        )
    }
}

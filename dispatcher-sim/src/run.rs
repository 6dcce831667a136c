//! One run from beginning to end, and what came of it.
//! Owns the reckoning of rates and quantiles; counting is `metrics`', many runs are `batch`'s.

use dispatcher_core::policy::UnknownPolicy;
use hdrhistogram::Histogram;

use crate::{
    clients::Clients, contender::Contender, engine::Engine, level::Level, level::PerLevel, metrics::Metrics,
    settings::Settings,
};

/// What came of a run, for tables and plots.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Requests answered per second.
    pub throughput: f64,
    /// Share of requests whose content was in a memory.
    pub hit_rate: f64,
    /// Median time from a client's request to its response, in ms.
    pub p50_ms: f64,
    /// 99th percentile of it, in ms.
    pub p99_ms: f64,
    /// 99th percentile of the time from the front-end to the response, in ms.
    pub residence_p99_ms: f64,
    /// Work of the busiest server against the mean.
    pub imbalance: f64,
    /// Share of requests dropped.
    pub drop_rate: f64,
    /// Entries in the front-end at the end.
    pub entries: usize,
    /// By level.
    pub levels: PerLevel<LevelOutcome>,
    /// Share of the requests sent to each server that were dropped there.
    pub server_drop_rates: Vec<f64>,
}

/// What came of a level.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LevelOutcome {
    /// Requests answered per second.
    pub goodput: f64,
    /// Share of requests dropped.
    pub drop_rate: f64,
    /// 99th percentile of the time from request to response, in ms.
    pub p99_ms: f64,
}

/// Runs `settings` under the policy of `contender`.
///
/// # Errors
/// When the policy does not exist.
pub fn run(settings: &Settings, contender: &Contender) -> Result<Outcome, UnknownPolicy> {
    let clients = Clients::new(settings, contender.classes);
    let mut engine = Engine::new(settings, contender, clients, settings.workload.cache)?;
    run_for(&mut engine, settings.run.warm_up);
    engine.restart_metrics();
    run_for(&mut engine, settings.run.requests);
    Ok(Outcome::of(&engine))
}

/// Runs until so many more requests are answered or dropped.
fn run_for(engine: &mut Engine, requests: u64) {
    let done = |engine: &Engine| engine.metrics().totals.served + engine.metrics().totals.dropped;
    let until = done(engine) + requests;
    while done(engine) < until {
        engine.step();
    }
}

impl Outcome {
    /// What `engine` has measured.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let metrics = engine.metrics();
        let seconds = (engine.now_us() - metrics.since_us).max(1) as f64 / 1e6;
        let latency = all_levels(metrics);
        let served = total(metrics.served);
        let found = metrics.hits + metrics.remote_hits;
        Self {
            throughput: served as f64 / seconds,
            hit_rate: share(found, found + metrics.misses),
            p50_ms: quantile_ms(&latency, 0.5),
            p99_ms: quantile_ms(&latency, 0.99),
            residence_p99_ms: quantile_ms(&metrics.residence, 0.99),
            imbalance: imbalance(metrics),
            drop_rate: share(total(metrics.dropped), served + total(metrics.dropped)),
            entries: engine.entries(),
            levels: PerLevel {
                high: level(metrics, Level::High, seconds),
                medium: level(metrics, Level::Medium, seconds),
                low: level(metrics, Level::Low, seconds),
            },
            server_drop_rates: metrics
                .servers
                .iter()
                .map(|server| share(total(server.dropped), server.served + total(server.dropped)))
                .collect(),
        }
    }
}

fn level(metrics: &Metrics, level: Level, seconds: f64) -> LevelOutcome {
    let (served, dropped) = (metrics.served[level], metrics.dropped[level]);
    LevelOutcome {
        goodput: served as f64 / seconds,
        drop_rate: share(dropped, served + dropped),
        p99_ms: quantile_ms(&metrics.latency[level], 0.99),
    }
}

fn all_levels(metrics: &Metrics) -> Histogram<u64> {
    let mut all = metrics.latency.high.clone();
    // All were made with the same bounds, so adding cannot fail.
    let _ = all.add(&metrics.latency.medium);
    let _ = all.add(&metrics.latency.low);
    all
}

fn imbalance(metrics: &Metrics) -> f64 {
    let busy = || metrics.servers.iter().map(|server| server.busy_us);
    let mean = busy().sum::<u64>() as f64 / metrics.servers.len() as f64;
    if mean > 0.0 { busy().max().unwrap_or(0) as f64 / mean } else { 1.0 }
}

fn quantile_ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1000.0
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn total(counts: PerLevel<u64>) -> u64 {
    counts.high + counts.medium + counts.low
}

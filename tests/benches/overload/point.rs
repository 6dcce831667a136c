//! One contender under one load, and the figures of it.

use std::time::Duration;

use tests::load::{Inversions, Level, Load, Outcome, Record, inversions};

use crate::contender::{Contender, Events};

/// Less than any server needs for a request.
const SERVICE: Duration = Duration::from_millis(10);

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// A connection for each request.
    Single,
    /// Several requests on a connection.
    Kept,
}

impl Mix {
    pub(crate) const ALL: [Self; 2] = [Self::Single, Self::Kept];

    /// DISPATCHER_MIX takes one of them.
    pub(crate) fn chosen() -> Vec<Self> {
        let chosen = std::env::var("DISPATCHER_MIX").ok();
        Self::ALL.into_iter().filter(|mix| chosen.as_deref().is_none_or(|name| name == mix.name())).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Kept => "kept",
        }
    }

    pub(crate) const fn requests_per_session(self) -> u32 {
        match self {
            Self::Single => 1,
            Self::Kept => 5,
        }
    }
}

/// What was measured.
pub(crate) struct Point {
    pub(crate) contender: Contender,
    pub(crate) mix: Mix,
    /// Of the capacity.
    pub(crate) multiple: f64,
    pub(crate) load: Load,
    pub(crate) records: Vec<Record>,
    pub(crate) events: Events,
}

/// Figures of one level, or of all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) offered: f64,
    pub(crate) goodput: f64,
    pub(crate) refused: f64,
    pub(crate) reset: f64,
    pub(crate) timed_out: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Point {
    pub(crate) const HEADER: &str = "\
| mix | contender | load | offered/s | goodput/s | high | medium | low | p99 high ms | medium | low | 503 | reset | timeout | \
inversions: certain, possible, held | overloads | evictions |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

    pub(crate) fn row(&self) -> String {
        let all = self.figures(None);
        let [high, medium, low] = Level::ALL.map(|level| self.figures(Some(level)));
        let Inversions { certain, possible, held } = self.inversions();
        let percent = |figures: Figures| format!("{:.1} %", 100.0 * figures.served());
        format!(
            "| {} | {} | {} | {:.0} | {:.0} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {certain}, {possible}, {held} | {} | {} |",
            self.mix.name(),
            self.contender.name(),
            self.multiple,
            all.offered,
            all.goodput,
            percent(high),
            percent(medium),
            percent(low),
            high.p99_ms,
            medium.p99_ms,
            low.p99_ms,
            all.refused,
            all.reset,
            all.timed_out,
            self.events.overloads,
            self.events.evictions,
        )
    }

    /// Of one level, or of all.
    pub(crate) fn figures(&self, level: Option<Level>) -> Figures {
        let records = || self.records.iter().filter(|record| level.is_none_or(|level| record.level == level));
        let seconds = self.load.duration.as_secs_f64();
        let rate = |outcome: Option<Outcome>| {
            records().filter(|record| outcome.is_none_or(|outcome| record.outcome == outcome)).count() as f64
                / seconds
        };
        let mut latencies: Vec<_> =
            records().filter(|record| record.is_served()).map(Record::latency).collect();
        latencies.sort_unstable();
        Figures {
            offered: rate(None),
            goodput: rate(Some(Outcome::Served)),
            refused: rate(Some(Outcome::Refused)),
            reset: rate(Some(Outcome::Reset)) + rate(Some(Outcome::Odd)),
            timed_out: rate(Some(Outcome::TimedOut)),
            p50_ms: quantile_ms(&latencies, 0.5),
            p99_ms: quantile_ms(&latencies, 0.99),
        }
    }

    pub(crate) fn inversions(&self) -> Inversions {
        inversions(&self.records, SERVICE, self.decision())
    }

    /// How long the door takes to say no: in 99 of 100 cases, since the rest was held up on its way.
    fn decision(&self) -> Duration {
        let refused = self.records.iter().filter(|record| record.outcome == Outcome::Refused);
        let mut times: Vec<_> = refused.map(|record| record.ended.saturating_sub(record.began)).collect();
        times.sort_unstable();
        quantile(&times, 0.99).unwrap_or_default()
    }
}

impl Figures {
    /// What part of the offered was served.
    pub(crate) fn served(&self) -> f64 {
        if self.offered > 0.0 { self.goodput / self.offered } else { 1.0 }
    }
}

fn quantile_ms(sorted: &[Duration], part: f64) -> f64 {
    quantile(sorted, part).unwrap_or_default().as_secs_f64() * 1e3
}

fn quantile(sorted: &[Duration], part: f64) -> Option<Duration> {
    let index = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied()
}

//! Overload with finite queues: who of the three levels still gets an answer, with and without what the paper has for it.
//! Owns the ways that are compared and what is drawn of them.

use std::{io, path::Path};

use dispatcher_core::policy::{RoundRobin, TableKind, UnknownPolicy};

use crate::{
    batch::{self, Job},
    contender::Contender,
    csv_file,
    level::Level,
    plot::{Curve, Look, Plot},
    run::{LevelOutcome, Outcome},
    settings::{ArrivalKind, OverLimit, Settings, WhenFull},
};

/// Loads, in multiples of what the servers can do when all requests hit.
pub const LOADS: [f64; 8] = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0];

/// Requests that a server holds at most. All servers together hold just as many as the paper's S lets in.
const QUEUE_LIMIT: u32 = 65;

/// Contexts: few enough that eight servers' memories hold them, so that queues are what counts.
const CONTEXTS: u32 = 500;

/// K of our policy.
const CLASSES: u16 = 100;

/// A way to meet overload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Its name in tables and files.
    pub name: &'static str,
    contender: Contender,
    over_limit: OverLimit,
    when_full: WhenFull,
}

/// All ways: ours; the same without the filter-table's rule; choosing among servers with room instead; knowing nothing of full
/// queues; and round robin likewise.
#[must_use]
pub fn ways() -> [Way; 5] {
    let context = || Contender::context(TableKind::Sticky, CLASSES);
    let round_robin = Contender::named(RoundRobin::NAME);
    let way = |name, contender, over_limit, when_full| Way { name, contender, over_limit, when_full };
    let (evict, reject) = (OverLimit::Evict, OverLimit::Reject);
    [
        way("context, evicting", context(), evict, WhenFull::Refuse),
        way("context, refusing", context(), reject, WhenFull::Refuse),
        way("context, to others", context(), reject, WhenFull::Other),
        way("context, blind", context(), reject, WhenFull::Send),
        way("round-robin, blind", round_robin, reject, WhenFull::Send),
    ]
}

/// Outcomes of each way at each load. `done` is called after each run.
///
/// # Errors
/// When a policy does not exist.
pub fn run(settings: &Settings, done: &(dyn Fn() + Sync)) -> Result<Vec<(Way, Vec<Outcome>)>, UnknownPolicy> {
    let mut settings = settings.clone();
    settings.workload.arrival = ArrivalKind::Open;
    settings.workload.contexts = CONTEXTS;
    settings.cluster.queue_limit = QUEUE_LIMIT;
    let job = |way: &Way, load| {
        let mut settings = settings.clone();
        settings.workload.load = load;
        (settings.front.over_limit, settings.front.when_full) = (way.over_limit, way.when_full);
        Job { settings, contender: way.contender.clone() }
    };
    let ways = ways();
    let jobs: Vec<_> = ways.iter().flat_map(|way| LOADS.map(|load| job(way, load))).collect();
    let outcomes = batch::run_all(&jobs, done)?;
    Ok(ways.into_iter().zip(outcomes.chunks(LOADS.len()).map(<[_]>::to_vec)).collect())
}

/// Writes `overload.csv` and the plots of goodput and p99 by level.
///
/// # Errors
/// When that fails.
pub fn write(results: &[(Way, Vec<Outcome>)], directory: &Path) -> io::Result<()> {
    let servers = results.first().and_then(|(_, outcomes)| outcomes.first());
    let servers = servers.map_or(0, |outcome| outcome.server_drop_rates.len());
    let by_server: Vec<_> = (1..=servers).map(|server| format!("server{server}_drop_rate")).collect();
    let columns: Vec<&str> = ["way", "load"]
        .into_iter()
        .chain(csv_file::COLUMNS)
        .chain(by_server.iter().map(String::as_str))
        .collect();
    let mut lines = Vec::new();
    for (way, outcomes) in results {
        for (load, outcome) in LOADS.iter().zip(outcomes) {
            let mut line = vec![way.name.to_owned(), load.to_string()];
            line.extend(csv_file::fields(outcome));
            line.extend(outcome.server_drop_rates.iter().map(|rate| format!("{rate:.4}")));
            lines.push(line);
        }
    }
    csv_file::write(&directory.join("overload.csv"), &columns, &lines)?;
    plot(results, "goodput", "requests/s", |level| level.goodput)
        .write(&directory.join("overload-goodput.svg"))?;
    plot(results, "99th percentile of response time", "ms", |level| level.p99_ms)
        .write(&directory.join("overload-p99.svg"))
}

/// One quantity by level, of the first two ways.
fn plot(
    results: &[(Way, Vec<Outcome>)],
    quantity: &str,
    y_label: &str,
    value: fn(&LevelOutcome) -> f64,
) -> Plot {
    let mut curves = Vec::new();
    for (index, (way, outcomes)) in results.iter().take(2).enumerate() {
        for (colour, level) in Level::ALL.into_iter().enumerate() {
            let look = if index == 0 { Look::Distinct(colour + 1) } else { Look::Rival(colour + 1) };
            let points =
                LOADS.iter().zip(outcomes).map(|(&load, outcome)| (load, value(&outcome.levels[level])));
            let way = way.name.trim_start_matches("context, ");
            curves.push(Curve { label: format!("{}, {way}", level.name()), look, points: points.collect() });
        }
    }
    Plot {
        title: format!("Overload: {quantity} by level"),
        x_label: "load, in multiples of what the servers can do".to_owned(),
        y_label: y_label.to_owned(),
        x_is_logarithmic: false,
        curves,
    }
}

//! Which table, K and T_load a site should choose, from the outcomes of a replay over a grid of them.
//! Owns the grid and what counts as equally good.

use dispatcher_core::policy::{Context, LoadThreshold, TableKind};

use crate::{
    contender::{Contender, DEFAULT_CLASSES},
    plot::{Curve, Look},
    run::Outcome,
};

/// K of the grid.
pub const CLASSES: [u16; 7] = [10, 20, 50, 100, 200, 500, 1000];

/// T_load of the grid, in mean service times.
const THRESHOLDS: [u32; 5] = [8, 16, 48, 72, 128];

/// A hit rate is as good as the best if it is no more below it.
const HIT_RATE_SLACK: f64 = 0.005;

/// A 99th percentile is as good as the best if it is no more times that.
const P99_SLACK: f64 = 1.05;

/// The busiest server is not too busy at so many times the mean; a few large classes can be worse, and then latency does not
/// show it until the site grows.
const IMBALANCE_SLACK: f64 = 1.25;

/// What to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// The contender with that K and T_load.
    pub contender: Contender,
    /// What it reached.
    pub outcome: Outcome,
}

/// Our policy over the grid. Weights need classes for service times only, so K is of the sticky table.
#[must_use]
pub fn grid() -> Vec<Contender> {
    let weighted = THRESHOLDS.map(|count| contender(TableKind::Weighted, DEFAULT_CLASSES, count));
    let sticky = THRESHOLDS
        .into_iter()
        .flat_map(|count| CLASSES.map(|classes| contender(TableKind::Sticky, classes, count)));
    weighted.into_iter().chain(sticky).collect()
}

/// Equal to one that says nothing of T_load where it has the table's own.
fn contender(table: TableKind, classes: u16, count: u32) -> Contender {
    let threshold = LoadThreshold::Requests(count);
    let mut contender = Contender::context(table, classes);
    contender.policy.load_threshold = (threshold != table.load_threshold()).then_some(threshold);
    contender
}

/// Of the outcomes of our policy whose hit rate is as good as the best, those whose p99 is as good as the best among them; of
/// these one whose servers are busy alike, if there is any, with the default table, because it knows how to share a hot target
/// and a slow server, else with the fewest classes, because each is an entry, and then the table's own T_load, because a log that
/// never makes servers queue tells nothing about it, else the lowest, because it parts sooner from a server in trouble.
#[must_use]
pub fn advise(results: &[(Contender, Outcome)]) -> Option<Advice> {
    let ours = || results.iter().filter(|(contender, _)| contender.policy.name == Context::NAME);
    let best_rate = ours().map(|(_, outcome)| outcome.hit_rate).fold(0.0, f64::max);
    let good = || ours().filter(|(_, outcome)| outcome.hit_rate >= best_rate - HIT_RATE_SLACK);
    let best_p99 = good().map(|(_, outcome)| outcome.p99_ms).fold(f64::INFINITY, f64::min);
    let best = good().filter(|(_, outcome)| outcome.p99_ms <= best_p99 * P99_SLACK);
    let (contender, outcome) = best.min_by_key(|(contender, outcome)| {
        let Contender { policy, classes } = contender;
        let threshold = match policy.load_threshold() {
            LoadThreshold::Requests(count) => count,
            LoadThreshold::Work(_) => u32::MAX,
        };
        let is_other_table = policy.table != TableKind::default();
        let is_other_threshold = policy.load_threshold() != policy.table.load_threshold();
        (outcome.imbalance > IMBALANCE_SLACK, is_other_table, *classes, is_other_threshold, threshold)
    })?;
    Some(Advice { contender: contender.clone(), outcome: outcome.clone() })
}

/// Hit rate of the sticky table over K, a curve for each T_load.
pub(super) fn curves(results: &[(Contender, Outcome)]) -> Vec<Curve> {
    let curve = |(index, count): (u32, u32)| {
        let threshold = LoadThreshold::Requests(count);
        let ours = results.iter().filter(|(contender, _)| {
            let policy = &contender.policy;
            policy.name == Context::NAME
                && policy.table == TableKind::Sticky
                && policy.load_threshold() == threshold
        });
        let mut points: Vec<_> =
            ours.map(|(contender, outcome)| (f64::from(contender.classes), outcome.hit_rate)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { label: format!("context sticky, T_load {count}x"), look: Look::Scale(index * 249), points }
    };
    (0..).zip(THRESHOLDS).map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

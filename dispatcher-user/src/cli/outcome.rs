//! Outcomes of simulated runs as rows of a listing.
//! Owns names and units of the columns.

use dispatcher_sim::run::Outcome;
use serde_json::{Value, json};

/// A row that begins with `what` was run.
pub(super) fn row(what: &[(&str, Value)], outcome: &Outcome) -> Value {
    let mut row: serde_json::Map<_, _> =
        what.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let figures = [
        ("requests_s", rounded(outcome.throughput)),
        ("hit_percent", rounded(outcome.hit_rate * 100.0)),
        ("p50_ms", rounded(outcome.p50_ms)),
        ("p99_ms", rounded(outcome.p99_ms)),
        ("server_p99_ms", rounded(outcome.residence_p99_ms)),
        ("imbalance_percent", rounded((outcome.imbalance - 1.0) * 100.0)),
        ("drop_percent", rounded(outcome.drop_rate * 100.0)),
        ("entries", outcome.entries.into()),
    ];
    row.extend(figures.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(row)
}

/// To a tenth, as tables show it.
fn rounded(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}

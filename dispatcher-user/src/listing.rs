//! Rows of `dispatcher show` that both roles have.

use serde::Serialize;

/// One row of `show counters`.
#[derive(Clone, Debug, Serialize)]
pub struct CounterRow {
    pub name: &'static str,
    pub value: u64,
    pub help: &'static str,
}

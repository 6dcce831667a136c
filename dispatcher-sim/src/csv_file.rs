//! CSV files, and outcomes as their fields. Numbers have a fixed number of decimals, so that equal outcomes are equal bytes.
//! What the files of a comparison are called, and their own columns, are that comparison's.

use std::{fs, io, path::Path};

use crate::{level::Level, run::Outcome};

/// Columns of every outcome.
pub const COLUMNS: [&str; 17] = [
    "throughput",
    "hit_rate",
    "p50_ms",
    "p99_ms",
    "residence_p99_ms",
    "imbalance",
    "drop_rate",
    "entries",
    "high_goodput",
    "high_p99_ms",
    "high_drop_rate",
    "medium_goodput",
    "medium_p99_ms",
    "medium_drop_rate",
    "low_goodput",
    "low_p99_ms",
    "low_drop_rate",
];

/// The text of a file.
///
/// # Errors
/// When a line has not as many fields as there are columns.
pub fn text(columns: &[&str], lines: &[Vec<String>]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns)?;
    for line in lines {
        writer.write_record(line)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// Writes a file, and its directory where there is none.
///
/// # Errors
/// When that fails.
pub fn write(path: &Path, columns: &[&str], lines: &[Vec<String>]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text(columns, lines)?)
}

/// The fields of an outcome, in the order of [`COLUMNS`].
#[must_use]
pub fn fields(outcome: &Outcome) -> Vec<String> {
    let mut fields = vec![
        format!("{:.1}", outcome.throughput),
        format!("{:.4}", outcome.hit_rate),
        format!("{:.1}", outcome.p50_ms),
        format!("{:.1}", outcome.p99_ms),
        format!("{:.1}", outcome.residence_p99_ms),
        format!("{:.3}", outcome.imbalance),
        format!("{:.4}", outcome.drop_rate),
        outcome.entries.to_string(),
    ];
    for level in Level::ALL {
        let level = &outcome.levels[level];
        fields.push(format!("{:.1}", level.goodput));
        fields.push(format!("{:.1}", level.p99_ms));
        fields.push(format!("{:.4}", level.drop_rate));
    }
    fields
}

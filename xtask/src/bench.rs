//! `cargo xtask bench`: every benchmark of the package `tests`, in the order of a request's way, each with its own tables. They
//! want a machine without other work; each runs its rivals alternately, so ratios bear more noise than figures do.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{interrupt, setup, workspace};

/// Benchmarks and what they answer.
const BENCHES: [(&str, &str); 4] = [
    ("packets", "nanoseconds a packet costs the front-end's program"),
    ("programs", "nanoseconds a run of each program costs in live traffic"),
    ("first_requests", "first requests a second on one core of the slow path"),
    ("responses", "requests a second and CPU time: direct, dispatcher, HAProxy"),
];

pub(crate) fn run() -> Result<ExitCode> {
    workspace::need_root("the benchmarks' rig")?;
    setup::ensure()?;
    let dispatcher = workspace::build_dispatcher()?;
    let mut failed = Vec::new();
    for (bench, question) in BENCHES {
        println!("\n## {question}\n");
        let status = workspace::cargo()
            .args(["bench", "--quiet", "--package", "tests", "--bench", bench])
            .env("DISPATCHER_RIG", "1")
            .env("DISPATCHER_BIN", &dispatcher)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            failed.push(bench);
        }
        if interrupt::came() {
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nfailed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

//! `cargo xtask bench`: every benchmark of the package `tests`, in the order of a request's way, each with its own tables. They
//! want a machine without other work; each runs its rivals alternately, so ratios bear more noise than figures do.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{interrupt, setup, workspace};

/// Benchmarks, what cargo needs to run them, and what they answer. The first is a test that asserts no time: it shares ring c's
/// world of packets.
const BENCHES: [(&str, &[&str], &str); 5] = [
    (
        "cost_of_a_packet",
        &[
            "test",
            "--package",
            "tests",
            "--test",
            "front_program",
            "cost::cost_of_a_packet",
            "--",
            "--nocapture",
        ],
        "nanoseconds that a packet costs the front-end's program (BPF_PROG_TEST_RUN)",
    ),
    (
        "programs",
        &["bench", "--package", "tests", "--bench", "programs"],
        "nanoseconds that a run of each program costs in live traffic",
    ),
    (
        "syn_flood",
        &["bench", "--package", "tests", "--bench", "syn_flood"],
        "nanoseconds that a SYN of a flood costs, with 100 000 rules and without",
    ),
    (
        "first_requests",
        &["bench", "--package", "tests", "--bench", "first_requests"],
        "first requests a second on a core of the slow path",
    ),
    (
        "responses",
        &["bench", "--package", "tests", "--bench", "responses"],
        "requests a second and CPU time: direct, dispatcher, HAProxy",
    ),
];

/// What happens when more is asked for than the servers can do: a run of its own, as it takes longer than all others.
const OVERLOAD: (&str, &[&str], &str) = (
    "overload",
    &["bench", "--package", "tests", "--bench", "overload"],
    "who is served under overload: admission, none, HAProxy",
);

pub(crate) fn run(overload: bool) -> Result<ExitCode> {
    workspace::need_root("the benchmarks' rig")?;
    setup::ensure()?;
    let dispatcher = workspace::build_dispatcher()?;
    let mut failed = Vec::new();
    let chosen: &[_] = if overload { &[OVERLOAD] } else { &BENCHES };
    for (bench, arguments, question) in chosen {
        println!("\n## {question}\n");
        let status = workspace::cargo()
            .args(*arguments)
            .env("DISPATCHER_RIG", "1")
            .env("DISPATCHER_BIN", &dispatcher)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            failed.push(*bench);
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

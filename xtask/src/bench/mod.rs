//! `cargo xtask bench`: every benchmark of the package `tests`, in the order of a request's way, and `docs/benchmarks.md` with what
//! they say. They want a machine without other work; each runs its rivals alternately, so ratios bear more noise than figures do.

mod document;
mod machine;

use std::{fs, process::ExitCode, time::Instant};

use ::tests::report;
use anyhow::{Context, Result, bail, ensure};

use self::document::Document;
use crate::{interrupt, setup, workspace};

/// A benchmark: its name, what cargo needs to run it, and what it answers.
struct Bench {
    name: &'static str,
    arguments: &'static [&'static str],
    question: &'static str,
}

/// In the order of the document. Some are tests that assert no time: they share ring c's world of packets.
const BENCHES: [Bench; 8] = [
    Bench {
        name: "side_by_side",
        arguments: &["bench", "--package", "tests", "--bench", "side_by_side"],
        question: "requests a second, latency and CPU time: direct, dispatcher, HAProxy, nginx",
    },
    Bench {
        name: "per_request",
        arguments: &["bench", "--package", "tests", "--bench", "per_request"],
        question: "what a server for each request of a kept connection costs: staying, moving, HAProxy",
    },
    Bench {
        name: "locality",
        arguments: &["bench", "--package", "tests", "--bench", "locality"],
        question: "hit rate, requests a second and latency of servers with caches, connections kept or not: dispatcher, HAProxy",
    },
    Bench {
        name: "cost_of_a_packet",
        arguments: &[
            "test",
            "--package",
            "tests",
            "--test",
            "front_program",
            "cost::cost_of_a_packet",
            "--",
            "--nocapture",
        ],
        question: "nanoseconds that a packet costs the front-end's program (BPF_PROG_TEST_RUN)",
    },
    Bench {
        name: "cost_at_a_server",
        arguments: &[
            "test",
            "--package",
            "tests",
            "--test",
            "back_program",
            "cost::cost_of_a_segment_at_a_server",
            "--",
            "--nocapture",
        ],
        question: "nanoseconds that a packet costs a server's programs (BPF_PROG_TEST_RUN)",
    },
    Bench {
        name: "programs",
        arguments: &["bench", "--package", "tests", "--bench", "programs"],
        question: "nanoseconds that a run of each program costs in live traffic",
    },
    Bench {
        name: "syn_flood",
        arguments: &["bench", "--package", "tests", "--bench", "syn_flood"],
        question: "nanoseconds that a SYN of a flood costs, with 100 000 rules and without",
    },
    Bench {
        name: "first_requests",
        arguments: &["bench", "--package", "tests", "--bench", "first_requests"],
        question: "first requests a second on a core",
    },
];

/// What happens when more is asked for than the servers can do: a run of its own, as it takes half as long as all others together,
/// and with a document of its own.
const OVERLOAD: Bench = Bench {
    name: "overload",
    arguments: &["bench", "--package", "tests", "--bench", "overload"],
    question: "who is served under overload: admission, none, HAProxy",
};

/// Names that `--only` takes.
pub(crate) fn names() -> [&'static str; BENCHES.len()] {
    BENCHES.map(|bench| bench.name)
}

/// Runs benchmarks, all or those named, and renews their sections of the document. The section of one that failed stays.
pub(crate) fn run(only: &[String]) -> Result<ExitCode> {
    let chosen = BENCHES.iter().filter(|bench| only.is_empty() || only.iter().any(|name| name == bench.name));
    let runner = Runner::new()?;
    let mut document = Document::read(&names())?;
    let mut failed = Vec::new();
    for bench in chosen {
        let start = Instant::now();
        let outcome = runner.run(bench).and_then(|()| document.take(bench.name, start.elapsed()));
        if interrupt::came() {
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        match outcome {
            // After each, so that one that hangs takes nothing with it.
            Ok(()) => document.write(&machine::table(&runner.dispatcher))?,
            Err(error) => failed.push(format!("{}: {error:#}", bench.name)),
        }
    }
    println!("\n{}", document.path().display());
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed, so that its section is as it was:\n  {}", failed.join("\n  "));
    Ok(ExitCode::FAILURE)
}

/// Runs the one of overload, which writes its own files.
pub(crate) fn run_overload() -> Result<ExitCode> {
    let outcome = Runner::new()?.run(&OVERLOAD);
    if interrupt::came() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What all benchmarks need.
struct Runner {
    dispatcher: std::path::PathBuf,
}

impl Runner {
    fn new() -> Result<Self> {
        workspace::need_root("the benchmarks' rig")?;
        setup::ensure()?;
        Ok(Self { dispatcher: workspace::build_dispatcher()? })
    }

    fn run(&self, bench: &Bench) -> Result<()> {
        println!("\n# {}: {}\n", bench.name, bench.question);
        let directory = report::directory(bench.name);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        let mut command = workspace::cargo();
        command.args(bench.arguments);
        // The last tells tests that are benchmarks too to take their time.
        command
            .envs([("DISPATCHER_RIG", "1"), ("DISPATCHER_BENCH", "1")])
            .env("DISPATCHER_BIN", &self.dispatcher);
        let status = command.status().context("cannot run cargo")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

/// Fails if a benchmark has left no section.
fn section_of(bench: &str) -> Result<String> {
    let path = report::directory(bench).join(report::SECTION);
    if !path.exists() {
        bail!("it wrote no section {}", path.display());
    }
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

//! `cargo xtask test`: rings a and b without privileges, then c and d in the rig, each with its runner's own
//! output, and a summary at the end.

use std::{
    io::{BufRead, BufReader, Read, Write, stderr, stdout},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

use crate::{interrupt, setup, workspace};

pub(crate) fn run() -> Result<ExitCode> {
    setup::ensure()?;
    let mut rings = Vec::new();
    let mut unprivileged = workspace::cargo();
    unprivileged.args(["test", "--workspace", "--no-fail-fast"]).env_remove("DISPATCHER_RIG");
    rings.push(Ring::run("a, b", "units, properties, simulations", &mut unprivileged)?);
    if Uid::effective().is_root() {
        let dispatcher = workspace::build_dispatcher()?;
        let mut privileged = workspace::cargo();
        privileged
            .args([
                "test",
                "--package",
                "tests",
                "--package",
                "xtask",
                "--no-fail-fast",
                "--",
                "--test-threads=1",
            ])
            .env("DISPATCHER_RIG", "1")
            .env("DISPATCHER_BIN", dispatcher);
        rings.push(Ring::run("c, d", "programs in the kernel, the rig", &mut privileged)?);
    } else {
        eprintln!(
            "rings c and d are skipped: they need root; run `sudo -E env \"PATH=$PATH\" cargo xtask test`"
        );
    }
    println!("\n{:<6}{:<34}{:>8}{:>8}{:>9}{:>8}", "ring", "", "passed", "failed", "skipped", "time");
    for ring in &rings {
        println!("{}", ring.line());
    }
    let failed = rings.iter().any(|ring| !ring.success);
    println!("{}", if failed { "FAILED" } else { "ok" });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What one run of `cargo test` came to.
#[derive(Debug)]
struct Ring {
    name: &'static str,
    what: &'static str,
    tally: Tally,
    time: Duration,
    success: bool,
}

/// Counts from the lines of libtest, and of tests that say that they are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Ring {
    fn run(name: &'static str, what: &'static str, command: &mut Command) -> Result<Self> {
        println!("ring {name}: {what}");
        let start = Instant::now();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run cargo")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let errors = thread::spawn(move || err.map(|pipe| echo(pipe, stderr())).unwrap_or_default());
        let printed = out.map(|pipe| echo(pipe, stdout())).unwrap_or_default();
        let tally = printed.plus(errors.join().unwrap_or_default());
        let success = child.wait()?.success();
        ensure!(!interrupt::came(), "interrupted");
        Ok(Self { name, what, tally, time: start.elapsed(), success })
    }

    /// A skipped test has passed as far as libtest knows.
    fn line(&self) -> String {
        let Tally { passed, failed, skipped } = self.tally;
        format!(
            "{:<6}{:<34}{:>8}{failed:>8}{skipped:>9}{:>7.0?}{}",
            self.name,
            self.what,
            passed.saturating_sub(skipped),
            self.time,
            if self.success || failed > 0 { "" } else { "  did not build or was ended" }
        )
    }
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// Reads `test result: ok. 15 passed; 0 failed; …` and `skipped: name: reason`.
    fn of_line(line: &str) -> Self {
        let number_before = |word: &str| {
            let before = line.split(word).next()?;
            before.rsplit(' ').next()?.parse().ok()
        };
        if line.starts_with("test result: ") {
            let passed = number_before(" passed;").unwrap_or(0);
            return Self { passed, failed: number_before(" failed;").unwrap_or(0), skipped: 0 };
        }
        Self { skipped: u32::from(line.starts_with("skipped: ")), ..Self::default() }
    }
}

fn echo(pipe: impl Read, mut to: impl Write) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let _ = writeln!(to, "{line}");
        tally = tally.plus(Tally::of_line(&line));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_s_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.98s";
        assert_eq!(Tally::of_line(line), Tally { passed: 12, failed: 2, skipped: 0 });
        assert_eq!(Tally::of_line("skipped: a_test: it needs root").skipped, 1);
        assert_eq!(Tally::of_line("test a::b ... ok"), Tally::default());
    }
}

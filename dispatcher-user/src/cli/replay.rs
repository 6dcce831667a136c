//! `dispatcher replay`: what every policy would have made of a site's own access logs, and which table, K and T_load to choose. Owns
//! arguments and what is printed; reading and replaying are `dispatcher-sim`'s.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use dispatcher_core::policy::LoadThreshold;
use dispatcher_sim::{
    contender::{Contender, table_name},
    replay::{self, Lines, Replay, ReplaySettings},
    run::Outcome,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{outcome, output};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Access logs in order of time, plain or compressed by gzip; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    settings: Box<ReplaySettings>,
    /// A policy with parameters, as in context:sticky:50:48x or lard:55/65; may be repeated. Without it: all, and ours over
    /// table, K and T_load
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<Contender>,
    /// Directory for a CSV file and a plot
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print a JSON array of objects instead of a table
    #[arg(long)]
    json: bool,
}

/// Carries out `replay`.
pub(super) fn run(arguments: &ReplayArgs) -> Result<()> {
    let contenders = match arguments.policies.as_slice() {
        [] => replay::contenders(),
        given => given.to_vec(),
    };
    arguments.settings.cluster.check()?;
    let mut replay = Replay::new(&arguments.settings, contenders)?;
    let progress = progress();
    for path in &arguments.logs {
        let mut log =
            replay::open(path).with_context(|| format!("cannot open {}; check the path", path.display()))?;
        let read = |lines| progress.set_position(lines);
        replay.feed(&mut log, &read).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let (lines, results) = replay.finish();
    progress.finish_and_clear();
    say_lines(&lines);
    ensure!(lines.good > 0, "no good line in the logs; give --format or --time-format");
    if let Some(directory) = &arguments.out {
        replay::write(&results, directory)
            .with_context(|| format!("cannot write to {}", directory.display()))?;
    }
    let rows: Vec<_> = results.iter().map(|(contender, outcome)| row(contender, outcome)).collect();
    output::rows(&rows, arguments.json)?;
    advise(&results);
    Ok(())
}

fn say_lines(lines: &Lines) {
    eprintln!("{} requests, {} bad lines", lines.good, lines.bad);
    for (number, error) in &lines.examples {
        eprintln!("line {number}: {error}");
    }
}

fn row(contender: &Contender, outcome: &Outcome) -> Value {
    outcome::row(&[("policy", json!(contender.to_string()))], outcome)
}

fn advise(results: &[(Contender, Outcome)]) {
    let Some(replay::Advice { contender, outcome }) = replay::advise(results) else { return };
    let threshold = match contender.policy.load_threshold() {
        LoadThreshold::Requests(count) => format!("{count}x"),
        LoadThreshold::Work(work) => format!("{}ms", work.as_millis()),
    };
    eprintln!(
        "for this site: table = \"{}\", classes = {}, load_threshold = \"{threshold}\": {:.1} % hits, p99 {:.1} ms",
        table_name(contender.policy.table),
        contender.classes,
        outcome.hit_rate * 100.0,
        outcome.p99_ms
    );
}

/// A count of lines on stderr, where that is a terminal.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} lines, {per_sec}");
    let bar = ProgressBar::new_spinner();
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

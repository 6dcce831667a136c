//! `dispatcher simulate`: runs of the simulator, its figures, and comparisons. Owns arguments, the progress bar and what is
//! printed; what is run is `dispatcher-sim`'s.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use dispatcher_core::policy::NAMES;
use dispatcher_sim::{
    batch::{self, Job},
    contender::Contender,
    csv_file,
    figure::{self, Figure},
    matrix::{self, Cell},
    overload,
    run::Outcome,
    settings::Settings,
    sweep::Sweep,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{outcome, output};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run once under each policy
    Run {
        #[command(flatten)]
        contenders: Contenders,
        #[command(flatten)]
        settings: Box<Settings>,
        /// Print a JSON array of objects instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make the paper's figures: throughput (8, 9) and hit rate (10, 11) over the number of servers
    Figure {
        /// Which one
        which: WhichFigure,
        /// Directory for the CSV and SVG files
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Vary one parameter: PARAMETER=VALUE,VALUE,…
    Sweep {
        /// The parameter and its values, as in servers=2,4,8
        over: Sweep,
        #[command(flatten)]
        contenders: Contenders,
        /// Directory for a CSV file and plots
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
        /// Print a JSON array of objects instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Compare policies with LARD 25/65 and LARD/R over servers, contexts, popularity, slow servers and idle connections
    Matrix {
        #[command(flatten)]
        contenders: Contenders,
        /// CSV file to write
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
        /// Print a JSON array of objects instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Overload servers with finite queues: who of the three levels is still served
    Overload {
        /// Directory for the CSV and SVG files
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

/// The policies to compare.
#[derive(Debug, Args)]
struct Contenders {
    /// A policy with parameters, as in context:sticky:50:48x or lard:55/65; may be repeated. Without it: all
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<Contender>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WhichFigure {
    #[value(name = "8")]
    Eight,
    #[value(name = "9")]
    Nine,
    #[value(name = "10")]
    Ten,
    #[value(name = "11")]
    Eleven,
    All,
}

impl WhichFigure {
    fn figures(self) -> &'static [Figure] {
        match self {
            Self::Eight => &[Figure::Eight],
            Self::Nine => &[Figure::Nine],
            Self::Ten => &[Figure::Ten],
            Self::Eleven => &[Figure::Eleven],
            Self::All => &Figure::ALL,
        }
    }
}

/// Carries out `simulate`.
pub(super) fn run(arguments: &SimulateArgs) -> Result<()> {
    match &arguments.what {
        What::Run { contenders, settings, json } => compare(&contenders.or_all(), settings, *json),
        What::Figure { which, out, settings } => draw(which.figures(), settings, out),
        What::Sweep { over, contenders, out, settings, json } => {
            sweep(over, &contenders.or_all(), out.as_deref(), settings, *json)
        }
        What::Matrix { contenders, out, settings, json } => {
            fill_matrix(&contenders.policies, out.as_deref(), settings, *json)
        }
        What::Overload { out, settings } => overload_servers(settings, out),
    }
}

impl Contenders {
    fn or_all(&self) -> Vec<Contender> {
        match self.policies.as_slice() {
            [] => NAMES.iter().map(|name| Contender::named(name)).collect(),
            given => given.to_vec(),
        }
    }
}

fn compare(contenders: &[Contender], settings: &Settings, as_json: bool) -> Result<()> {
    settings.cluster.check()?;
    let job = |contender: &Contender| Job { settings: settings.clone(), contender: contender.clone() };
    let jobs: Vec<_> = contenders.iter().map(job).collect();
    let progress = progress(jobs.len());
    let outcomes = batch::run_all(&jobs, &|| progress.inc(1))?;
    progress.finish_and_clear();
    let of = |(contender, outcome)| outcome::row(&[("policy", named(contender))], outcome);
    let rows: Vec<_> = contenders.iter().zip(&outcomes).map(of).collect();
    Ok(output::rows(&rows, as_json)?)
}

fn draw(figures: &[Figure], settings: &Settings, directory: &Path) -> Result<()> {
    let progress = progress(figure::run_count(figures));
    figure::make(figures, settings, directory, &|| progress.inc(1))?;
    progress.finish_and_clear();
    eprintln!("figures written to {}", directory.display());
    Ok(())
}

fn sweep(
    over: &Sweep,
    contenders: &[Contender],
    directory: Option<&Path>,
    settings: &Settings,
    as_json: bool,
) -> Result<()> {
    let progress = progress(over.values().len() * contenders.len());
    let outcomes = over.run(settings, contenders, &|| progress.inc(1))?;
    progress.finish_and_clear();
    if let Some(directory) = directory {
        write_sweep(over, contenders, &outcomes, directory)
            .with_context(|| format!("cannot write to {}", directory.display()))?;
    }
    let mut rows = Vec::new();
    for (value, at) in over.values().iter().zip(&outcomes) {
        for (contender, outcome) in contenders.iter().zip(at) {
            let what = [("policy", json!(over.label(contender))), (over.name(), json!(value))];
            rows.push(outcome::row(&what, outcome));
        }
    }
    Ok(output::rows(&rows, as_json)?)
}

fn write_sweep(
    over: &Sweep,
    contenders: &[Contender],
    outcomes: &[Vec<Outcome>],
    directory: &Path,
) -> Result<()> {
    let columns: Vec<_> = ["policy", over.name()].into_iter().chain(csv_file::COLUMNS).collect();
    let mut lines = Vec::new();
    for (value, at) in over.values().iter().zip(outcomes) {
        for (contender, outcome) in contenders.iter().zip(at) {
            let mut line = vec![over.label(contender), value.to_string()];
            line.extend(csv_file::fields(outcome));
            lines.push(line);
        }
    }
    csv_file::write(&directory.join("sweep.csv"), &columns, &lines)?;
    let plot = |name: &str, label: &str, value: fn(&Outcome) -> f64| {
        let path = directory.join(format!("sweep-{name}.svg"));
        over.plot((label, value), contenders, outcomes).write(&path)
    };
    plot("throughput", "requests/s", |outcome| outcome.throughput)?;
    plot("hit-rate", "hit rate", |outcome| outcome.hit_rate)?;
    Ok(plot("p99", "p99 of the response time, ms", |outcome| outcome.p99_ms)?)
}

fn fill_matrix(
    policies: &[Contender],
    file: Option<&Path>,
    settings: &Settings,
    as_json: bool,
) -> Result<()> {
    let ours = if policies.is_empty() { vec![matrix::ours()] } else { policies.to_vec() };
    let contenders: Vec<_> = matrix::rivals().into_iter().chain(ours).collect();
    let cells = Cell::all();
    let progress = progress(cells.len() * contenders.len());
    let outcomes = matrix::run(settings, &cells, &contenders, &|| progress.inc(1))?;
    progress.finish_and_clear();
    if let Some(file) = file {
        matrix::write(&cells, &contenders, &outcomes, file)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut rows = Vec::new();
    for (cell, at) in cells.iter().zip(&outcomes) {
        for (contender, outcome) in contenders.iter().zip(at) {
            let what = [
                ("ailment", json!(cell.ailment.name())),
                ("popularity", json!(cell.popularity_name())),
                ("contexts", json!(cell.contexts)),
                ("servers", json!(cell.servers)),
                ("policy", named(contender)),
            ];
            rows.push(outcome::row(&what, outcome));
        }
    }
    Ok(output::rows(&rows, as_json)?)
}

fn overload_servers(settings: &Settings, directory: &Path) -> Result<()> {
    let progress = progress(overload::ways().len() * overload::LOADS.len());
    let results = overload::run(settings, &|| progress.inc(1))?;
    progress.finish_and_clear();
    overload::write(&results, directory)
        .with_context(|| format!("cannot write to {}", directory.display()))?;
    eprintln!("figures written to {}", directory.display());
    Ok(())
}

fn named(contender: &Contender) -> Value {
    contender.to_string().into()
}

/// A bar on stderr, where that is a terminal.
fn progress(runs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left");
    let bar = ProgressBar::new(runs as u64);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

//! The paper's Figures 8 to 11: throughput and hit rate over the number of servers, with 1000 and with 500 contexts. Owns
//! which runs a figure needs and what is drawn of them; the curves are `curves`'.

mod crossing;
mod curves;

use std::{io, path::Path};

use dispatcher_core::policy::UnknownPolicy;
use thiserror::Error;

use crate::{
    batch::{self, Job},
    csv_file,
    plot::{Curve, Plot},
    run::Outcome,
    settings::{PopularityKind, Settings},
};
use curves::{GROUPS, Group, Member};

/// Numbers of servers on the x axis.
pub const SERVERS: [u16; 10] = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16];

/// Popularities: that of the paper, as far as it says, and a second one.
const POPULARITIES: [(PopularityKind, &str); 2] =
    [(PopularityKind::Uniform, "uniform"), (PopularityKind::Zipf, "zipf")];

/// A figure could not be made.
#[derive(Debug, Error)]
pub enum FigureError {
    /// A policy of the figure does not exist.
    #[error(transparent)]
    Policy(#[from] UnknownPolicy),
    /// It could not be written.
    #[error("cannot write the figure: {0}; check the directory and its rights")]
    Write(#[from] io::Error),
}

/// One of the paper's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Throughput, 1000 contexts.
    Eight,
    /// Throughput, 500 contexts.
    Nine,
    /// Hit rate, 1000 contexts.
    Ten,
    /// Hit rate, 500 contexts.
    Eleven,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eight, Self::Nine, Self::Ten, Self::Eleven];

    fn number(self) -> u32 {
        match self {
            Self::Eight => 8,
            Self::Nine => 9,
            Self::Ten => 10,
            Self::Eleven => 11,
        }
    }

    fn contexts(self) -> u32 {
        match self {
            Self::Eight | Self::Ten => 1000,
            Self::Nine | Self::Eleven => 500,
        }
    }

    fn is_of_throughput(self) -> bool {
        matches!(self, Self::Eight | Self::Nine)
    }

    fn value(self, outcome: &Outcome) -> f64 {
        if self.is_of_throughput() { outcome.throughput } else { outcome.hit_rate }
    }

    fn field(self, outcome: &Outcome) -> String {
        if self.is_of_throughput() {
            format!("{:.1}", outcome.throughput)
        } else {
            format!("{:.4}", outcome.hit_rate)
        }
    }
}

/// What was run for one number of contexts and one popularity: by member of all groups, then by number of servers.
#[derive(Debug)]
struct Series {
    contexts: u32,
    popularity: &'static str,
    runs: Vec<(Member, Vec<Outcome>)>,
}

impl Series {
    fn outcomes(&self, member: &Member) -> &[Outcome] {
        let run = self.runs.iter().find(|(run, _)| run == member);
        run.map_or(&[], |(_, outcomes)| outcomes)
    }
}

/// Number of runs that `figures` need.
#[must_use]
pub fn run_count(figures: &[Figure]) -> usize {
    sizes(figures).len() * POPULARITIES.len() * curves::members().len() * SERVERS.len()
}

/// Makes `figures` from `settings`, of which servers, contexts and popularity are the figures' own, and writes CSV and
/// SVG files to `directory`. `done` is called after each run.
///
/// # Errors
/// When a file cannot be written.
pub fn make(
    figures: &[Figure],
    settings: &Settings,
    directory: &Path,
    done: &(dyn Fn() + Sync),
) -> Result<(), FigureError> {
    let mut all = Vec::new();
    for contexts in sizes(figures) {
        for (kind, popularity) in POPULARITIES {
            let mut settings = settings.clone();
            (settings.workload.contexts, settings.workload.popularity) = (contexts, kind);
            all.push(Series { contexts, popularity, runs: run_members(&settings, done)? });
        }
    }
    std::fs::create_dir_all(directory)?;
    for &figure in figures {
        write_csv(figure, &all, directory)?;
        for series in all.iter().filter(|series| series.contexts == figure.contexts()) {
            for group in &GROUPS {
                let name = format!("figure-{}-{}-{}.svg", figure.number(), series.popularity, group.name);
                plot(figure, series, group).write(&directory.join(name))?;
            }
        }
    }
    Ok(crossing::write(&all, directory)?)
}

fn sizes(figures: &[Figure]) -> Vec<u32> {
    let mut sizes: Vec<_> = figures.iter().map(|figure| figure.contexts()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn run_members(
    settings: &Settings,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<(Member, Vec<Outcome>)>, UnknownPolicy> {
    let members = curves::members();
    let job = |member: &Member, servers| {
        let mut settings = settings.clone();
        (settings.cluster.servers, settings.cluster.cache_kind) = (servers, member.cache);
        Job { settings, contender: member.contender.clone() }
    };
    let jobs: Vec<_> =
        members.iter().flat_map(|member| SERVERS.map(|servers| job(member, servers))).collect();
    let outcomes = batch::run_all(&jobs, done)?;
    Ok(members.into_iter().zip(outcomes.chunks(SERVERS.len()).map(<[_]>::to_vec)).collect())
}

fn write_csv(figure: Figure, all: &[Series], directory: &Path) -> io::Result<()> {
    let quantity = if figure.is_of_throughput() { "throughput" } else { "hit_rate" };
    let mut lines = Vec::new();
    for series in all.iter().filter(|series| series.contexts == figure.contexts()) {
        for (member, outcomes) in &series.runs {
            for (servers, outcome) in SERVERS.iter().zip(outcomes) {
                lines.push(vec![
                    series.popularity.to_owned(),
                    member.label(),
                    servers.to_string(),
                    figure.field(outcome),
                    outcome.entries.to_string(),
                ]);
            }
        }
    }
    let path = directory.join(format!("figure-{}.csv", figure.number()));
    csv_file::write(&path, &["popularity", "policy", "servers", quantity, "entries"], &lines)
}

fn plot(figure: Figure, series: &Series, group: &Group) -> Plot {
    let quantity = if figure.is_of_throughput() { "throughput" } else { "hit rate" };
    let point = |(&servers, outcome): (&u16, &Outcome)| (f64::from(servers), figure.value(outcome));
    let curve = |(member, look): (Member, _)| Curve {
        label: member.label(),
        look,
        points: SERVERS.iter().zip(series.outcomes(&member)).map(point).collect(),
    };
    Plot {
        title: format!(
            "Figure {}: {quantity}, {} contexts, {} popularity",
            figure.number(),
            series.contexts,
            series.popularity
        ),
        x_label: "servers".to_owned(),
        y_label: if figure.is_of_throughput() { "requests/s" } else { "hit rate" }.to_owned(),
        x_is_logarithmic: false,
        curves: group.curves().into_iter().map(curve).collect(),
    }
}

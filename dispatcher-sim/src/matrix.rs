//! Ours against LARD and LARD/R in every cell of a grid: servers, contexts, popularity, and what ails the cluster.
//! Owns the grid; judging the outcomes is left to the reader of `docs/simulation.md`.

use std::{io, path::Path};

use dispatcher_core::policy::{Lard, LardR, TableKind, UnknownPolicy};

use crate::{
    batch::{self, Job},
    contender::Contender,
    csv_file,
    run::Outcome,
    settings::{PopularityKind, Settings, Slowdown},
};

/// Classes by which our policy knows service times; of entries it has a weight for each server and 64 hot targets, where LARD
/// needs one for each context.
const CLASSES: u16 = 128;

/// What ails the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Nothing: the servers are equal.
    None,
    /// One server takes three times as long.
    SlowServer,
    /// A fifth of the connections stays open and idle.
    IdleFifth,
}

impl Ailment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::SlowServer, Self::IdleFifth];

    /// The words in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "equal",
            Self::SlowServer => "one 3x slow",
            Self::IdleFifth => "a fifth idle",
        }
    }
}

/// One cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// N.
    pub servers: u16,
    /// C.
    pub contexts: u32,
    /// Popularity.
    pub popularity: PopularityKind,
    /// What ails it.
    pub ailment: Ailment,
}

impl Cell {
    /// The whole grid.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for ailment in Ailment::ALL {
            for popularity in [PopularityKind::Uniform, PopularityKind::Zipf] {
                for contexts in [500, 1000] {
                    let cell = |servers| Self { servers, contexts, popularity, ailment };
                    cells.extend([2, 4, 8, 16].map(cell));
                }
            }
        }
        cells
    }

    /// The popularity's name.
    #[must_use]
    pub fn popularity_name(&self) -> &'static str {
        match self.popularity {
            PopularityKind::Uniform => "uniform",
            PopularityKind::Zipf => "zipf",
        }
    }

    fn settings(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.cluster.servers = self.servers;
        settings.workload.contexts = self.contexts;
        settings.workload.popularity = self.popularity;
        match self.ailment {
            Ailment::None => {}
            Ailment::SlowServer => settings.cluster.slow.push(Slowdown::always(1, 3)),
            Ailment::IdleFifth => settings.workload.idle = 20,
        }
        settings
    }
}

/// Ours: the default table.
#[must_use]
pub fn ours() -> Contender {
    Contender::context(TableKind::default(), CLASSES)
}

/// Those that ours is compared with.
#[must_use]
pub fn rivals() -> Vec<Contender> {
    vec![Contender::lard(Lard::NAME, 25, 65), Contender::lard(LardR::NAME, 25, 65)]
}

/// Outcomes of `contenders` in each cell of `cells`. `done` is called after each run.
///
/// # Errors
/// When a policy does not exist.
pub fn run(
    settings: &Settings,
    cells: &[Cell],
    contenders: &[Contender],
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<Outcome>>, UnknownPolicy> {
    let job = |cell: &Cell, contender: &Contender| Job {
        settings: cell.settings(settings),
        contender: contender.clone(),
    };
    let jobs: Vec<_> =
        cells.iter().flat_map(|cell| contenders.iter().map(|contender| job(cell, contender))).collect();
    let outcomes = batch::run_all(&jobs, done)?;
    Ok(outcomes.chunks(contenders.len().max(1)).map(<[_]>::to_vec).collect())
}

/// Writes the outcomes as a CSV file.
///
/// # Errors
/// When that fails.
pub fn write(
    cells: &[Cell],
    contenders: &[Contender],
    outcomes: &[Vec<Outcome>],
    path: &Path,
) -> io::Result<()> {
    let own = ["ailment", "popularity", "contexts", "servers", "policy"];
    let columns: Vec<_> = own.into_iter().chain(csv_file::COLUMNS).collect();
    let mut lines = Vec::new();
    for (cell, at) in cells.iter().zip(outcomes) {
        for (contender, outcome) in contenders.iter().zip(at) {
            let mut line = vec![cell.ailment.name().to_owned(), cell.popularity_name().to_owned()];
            line.extend([cell.contexts.to_string(), cell.servers.to_string(), contender.to_string()]);
            line.extend(csv_file::fields(outcome));
            lines.push(line);
        }
    }
    csv_file::write(path, &columns, &lines)
}

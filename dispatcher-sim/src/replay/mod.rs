//! Replay of access logs: what every policy would have made of a site's own requests. Owns the way of a line from the
//! log to the clusters; each policy has a cluster of its own, and all see the same requests in chunks, so memory does not grow
//! with the log.

mod advice;
mod field;
mod json;
mod line;
mod pace;
mod record;
mod settings;
mod source;
mod stamp;

use std::{
    io::{self, BufRead},
    path::Path,
};

use dispatcher_core::policy::{Context, Lard, NAMES, RoundRobin, UnknownPolicy};
use rayon::prelude::*;

use crate::{
    clients::Clients,
    contender::Contender,
    csv_file,
    engine::Engine,
    plot::{Curve, Look, Plot},
    run::Outcome,
};

pub use advice::{Advice, CLASSES, advise, grid};
pub use line::{BadLine, Format};
pub use settings::{Pace, ReplaySettings};
pub use source::open;

use pace::Timeline;
use record::{Chunk, Reader};

/// Lines that clusters take at once.
const CHUNK_LINES: usize = 32_768;

/// Bad lines that are kept to be shown.
const SHOWN_BAD_LINES: usize = 5;

/// Longest line in bytes; what is longer is bad.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// What was found in the logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// The first few bad ones: number of the line, and what is wrong.
    pub examples: Vec<(u64, BadLine)>,
}

/// A replay that is going on.
#[derive(Debug)]
pub struct Replay {
    settings: ReplaySettings,
    contenders: Vec<Contender>,
    engines: Vec<Engine>,
    reader: Reader,
    timeline: Timeline,
    chunk: Chunk,
    lines: Lines,
}

/// Who is compared when nobody is named: all policies, the paper's LARD, and ours over table, K and T_load.
#[must_use]
pub fn contenders() -> Vec<Contender> {
    let mut contenders: Vec<_> = NAMES.iter().map(|name| Contender::named(name)).collect();
    contenders.push(Contender::lard(Lard::NAME, 55, 65));
    contenders.extend(grid());
    let mut seen = Vec::new();
    contenders.retain(|contender| {
        let is_new = !seen.contains(contender);
        seen.push(contender.clone());
        is_new
    });
    contenders
}

impl Replay {
    /// Clusters that have seen nothing yet, one for each of `contenders`.
    ///
    /// # Errors
    /// When a policy does not exist.
    pub fn new(settings: &ReplaySettings, contenders: Vec<Contender>) -> Result<Self, UnknownPolicy> {
        let simulation = settings.simulation();
        let engine = |contender: &Contender| {
            Engine::new(&simulation, contender, Clients::outside(&simulation), settings.cache.as_u64())
        };
        Ok(Self {
            engines: contenders.iter().map(engine).collect::<Result<_, _>>()?,
            reader: Reader::new(settings, &contenders),
            timeline: Timeline::new(settings),
            chunk: Chunk::default(),
            lines: Lines::default(),
            settings: settings.clone(),
            contenders,
        })
    }

    /// Replays a log. `read` is called after each chunk with the number of lines so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn feed(&mut self, log: &mut dyn BufRead, read: &dyn Fn(u64)) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if io::Read::take(&mut *log, MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.reader.read(&line, &mut self.chunk) {
                Ok(()) => self.lines.good += 1,
                Err(error) => self.note_bad(error),
            }
            if self.chunk.len() >= CHUNK_LINES {
                self.play(false);
                read(self.lines.good + self.lines.bad);
            }
        }
    }

    /// The end of all logs: everybody who waits is served, and this is what came of it.
    #[must_use]
    pub fn finish(mut self) -> (Lines, Vec<(Contender, Outcome)>) {
        self.play(true);
        self.engines.par_iter_mut().for_each(|engine| {
            while engine.in_flight() > 0 {
                engine.step();
            }
        });
        let outcomes = self.engines.iter().map(Outcome::of);
        (self.lines, self.contenders.into_iter().zip(outcomes).collect())
    }

    fn note_bad(&mut self, error: BadLine) {
        self.lines.bad += 1;
        if self.lines.examples.len() < SHOWN_BAD_LINES {
            self.lines.examples.push((self.lines.good + self.lines.bad, error));
        }
    }

    /// Lets all clusters have what has been read, but the requests of the last second, to which more may belong.
    fn play(&mut self, is_end: bool) {
        let ready = self.timeline.place(&mut self.chunk, is_end);
        let (chunk, pace) = (&self.chunk, self.settings.pace);
        self.engines.par_iter_mut().enumerate().for_each(|(index, engine)| {
            for place in 0..ready {
                match pace {
                    Pace::Log => engine.advance(chunk.at_us(place)),
                    Pace::Saturate => while_full(engine),
                }
                engine.offer(chunk.request(place, index));
            }
        });
        self.chunk.drop_first(ready);
    }
}

fn while_full(engine: &mut Engine) {
    while !engine.has_room() {
        engine.step();
    }
}

/// Writes `replay.csv` and `replay.svg`: ours over K by T_load, beside the others.
///
/// # Errors
/// When that fails.
pub fn write(results: &[(Contender, Outcome)], directory: &Path) -> io::Result<()> {
    let columns: Vec<_> = ["policy"].into_iter().chain(csv_file::COLUMNS).collect();
    let line = |(contender, outcome): &(Contender, Outcome)| {
        let mut line = vec![contender.to_string()];
        line.extend(csv_file::fields(outcome));
        line
    };
    let lines: Vec<_> = results.iter().map(line).collect();
    csv_file::write(&directory.join("replay.csv"), &columns, &lines)?;
    plot(results).write(&directory.join("replay.svg"))
}

fn plot(results: &[(Contender, Outcome)]) -> Plot {
    let ends = [CLASSES[0], CLASSES[CLASSES.len() - 1]].map(f64::from);
    let rivals = [RoundRobin::NAME, Lard::NAME, "lard-r", "hash", Context::NAME];
    let mut curves = Vec::new();
    for (index, name) in rivals.into_iter().enumerate() {
        if let Some((contender, outcome)) = results.iter().find(|(rival, _)| rival.policy.name == name) {
            let points = ends.map(|k| (k, outcome.hit_rate)).to_vec();
            curves.push(Curve { label: contender.to_string(), look: Look::Rival(index), points });
        }
    }
    curves.extend(advice::curves(results));
    Plot {
        title: "Hit rate over K".to_owned(),
        x_label: "K: context classes".to_owned(),
        y_label: "hit rate".to_owned(),
        x_is_logarithmic: true,
        curves,
    }
}

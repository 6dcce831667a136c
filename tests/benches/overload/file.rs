//! What is kept of a run: the figures of every point and every request as CSV, and curves as SVG.

use std::{io, path::Path};

use anyhow::Result;
use dispatcher_sim::{
    csv_file,
    plot::{Curve, Look, Plot},
};
use tests::load::Level;

use crate::{
    contender::Contender,
    point::{Figures, Mix, Point},
};

const COLUMNS: [&str; 13] = [
    "mix",
    "contender",
    "load",
    "level",
    "offered",
    "goodput",
    "refused",
    "reset",
    "timed_out",
    "p50_ms",
    "p99_ms",
    "overloads",
    "evictions",
];

/// Writes all files.
pub(crate) fn write(directory: &Path, points: &[Point], capacity: f64) -> Result<()> {
    let lines: Vec<_> = points.iter().flat_map(lines).collect();
    csv_file::write(&directory.join("admission-overload.csv"), &COLUMNS, &lines)?;
    for mix in Mix::ALL {
        let points: Vec<&Point> = points.iter().filter(|point| point.mix == mix).collect();
        if !points.is_empty() {
            plots(directory, mix, &points, capacity)?;
        }
    }
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/overload/requests.csv");
    write_requests(&requests, points)?;
    Ok(())
}

fn lines(point: &Point) -> Vec<Vec<String>> {
    let level = |level: Option<Level>| {
        let Figures { offered, goodput, refused, reset, timed_out, p50_ms, p99_ms } = point.figures(level);
        let mut line = vec![point.mix.name().to_owned(), point.contender.name().to_owned()];
        line.extend([point.multiple.to_string(), level.map_or("all", Level::name).to_owned()]);
        let figures = [offered, goodput, refused, reset, timed_out, p50_ms, p99_ms];
        line.extend(figures.map(|figure| format!("{figure:.1}")));
        line.extend([point.events.overloads, point.events.evictions].map(|count| count.to_string()));
        line
    };
    Level::ALL.into_iter().map(Some).chain([None]).map(level).collect()
}

fn plots(directory: &Path, mix: Mix, points: &[&Point], capacity: f64) -> io::Result<()> {
    for contender in Contender::chosen() {
        let slug = match contender {
            Contender::Admission => "ours",
            Contender::Bare => "none",
            Contender::Haproxy => "haproxy",
        };
        let curves = Level::ALL.into_iter().enumerate().map(|(colour, level)| Curve {
            label: level.name().to_owned(),
            look: Look::Distinct(colour + 1),
            points: curve(points, contender, |point| point.figures(Some(level)).goodput),
        });
        let title = format!("Goodput by level: {}", contender.name());
        let path = directory.join(format!("admission-{}-goodput-{slug}.svg", mix.name()));
        plot(&title, "requests/s", curves.collect()).write(&path)?;
    }
    let by_contender = |value: fn(&Point) -> f64| {
        let curves = Contender::chosen().into_iter().enumerate().map(|(colour, contender)| Curve {
            label: contender.name().to_owned(),
            look: Look::Distinct(colour + 1),
            points: curve(points, contender, value),
        });
        curves.collect::<Vec<_>>()
    };
    plot("p99 of the high level", "ms", by_contender(|point| point.figures(Some(Level::High)).p99_ms))
        .write(&directory.join(format!("admission-{}-p99-high.svg", mix.name())))?;
    let title = format!("Goodput of all levels; capacity {capacity:.0} requests/s");
    plot(&title, "requests/s", by_contender(|point| point.figures(None).goodput))
        .write(&directory.join(format!("admission-{}-total.svg", mix.name())))
}

fn curve(points: &[&Point], contender: Contender, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    points
        .iter()
        .filter(|point| point.contender == contender)
        .map(|point| (point.multiple, value(point)))
        .collect()
}

fn plot(title: &str, y_label: &str, curves: Vec<Curve>) -> Plot {
    Plot {
        title: title.to_owned(),
        x_label: "load, in multiples of what the servers can do".to_owned(),
        y_label: y_label.to_owned(),
        x_is_logarithmic: false,
        curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
    }
}

fn write_requests(path: &Path, points: &[Point]) -> io::Result<()> {
    let columns =
        ["mix", "contender", "load", "level", "due_us", "began_us", "ended_us", "outcome", "server"];
    let mut lines = Vec::new();
    for point in points {
        for record in &point.records {
            let mut line = vec![point.mix.name().to_owned(), point.contender.name().to_owned()];
            line.extend([point.multiple.to_string(), record.level.name().to_owned()]);
            line.extend([record.due, record.began, record.ended].map(|time| time.as_micros().to_string()));
            line.push(record.outcome.name().to_owned());
            line.push(record.server.map(|server| server.to_string()).unwrap_or_default());
            lines.push(line);
        }
    }
    csv_file::write(path, &columns, &lines)
}

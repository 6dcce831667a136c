//! What must hold of the dispatcher with admission, and whether it does.

use std::fmt::Write;

use tests::load::Level;

use crate::{
    contender::Contender,
    point::{Mix, Point},
};

/// The high level keeps so much of what it asks for.
const HIGH_SERVED: f64 = 0.95;
/// Its p99 may be so many times that of half the load.
const P99_FACTOR: f64 = 2.0;
/// The total keeps so much of its peak.
const OF_PEAK: f64 = 0.9;
/// At the edge the high level keeps so much.
const EDGE_SERVED: f64 = 0.99;

/// One thing that must hold.
pub(crate) struct Finding {
    what: String,
    measured: String,
    pub(crate) holds: bool,
}

/// All of them, as far as the points allow.
pub(crate) fn of(points: &[Point]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mix in Mix::ALL {
        let ours: Vec<&Point> = points
            .iter()
            .filter(|point| point.contender == Contender::Admission && point.mix == mix)
            .collect();
        let at = |multiple: f64| ours.iter().find(|point| point.multiple == multiple).copied();
        if let (Some(unloaded), Some(edge), Some(most)) = (at(0.5), at(1.0), at(3.0)) {
            findings.extend(of_mix(mix, &ours, unloaded, edge, most));
        }
    }
    findings
}

fn of_mix(mix: Mix, ours: &[&Point], unloaded: &Point, edge: &Point, most: &Point) -> [Finding; 5] {
    let finding = |what: String, measured: String, holds| Finding {
        what: format!("{}: {what}", mix.name()),
        measured,
        holds,
    };
    let (high, quiet) = (most.figures(Some(Level::High)), unloaded.figures(Some(Level::High)));
    let goodput = |point: &Point| point.figures(None).goodput;
    let peak = ours.iter().map(|point| goodput(point)).fold(0.0, f64::max);
    let of_peak = goodput(most) / peak;
    let (certain, possible) = ours
        .iter()
        .map(|point| point.inversions())
        .fold((0, 0), |(certain, possible), found| (certain + found.certain, possible + found.possible));
    let seconds = edge.load.end().as_secs_f64();
    let overloads = edge.events.overloads as f64 / seconds;
    let kept = edge.figures(Some(Level::High)).served();
    [
        finding(
            format!("at 3x the high level keeps {:.0} % of what it asks for", HIGH_SERVED * 100.0),
            format!("{:.1} %", high.served() * 100.0),
            high.served() >= HIGH_SERVED,
        ),
        finding(
            format!("at 3x its p99 is within {P99_FACTOR} of that at 0.5x"),
            format!("{:.0} ms of {:.0} ms: {:.2}", high.p99_ms, quiet.p99_ms, high.p99_ms / quiet.p99_ms),
            high.p99_ms <= P99_FACTOR * quiet.p99_ms,
        ),
        finding(
            format!("at 3x the total is {:.0} % of its peak", OF_PEAK * 100.0),
            format!("{:.0} of {peak:.0} requests/s: {:.1} %", goodput(most), of_peak * 100.0),
            of_peak >= OF_PEAK,
        ),
        finding(
            "no request is let in while a higher one at the door is refused".to_owned(),
            format!("{certain} certain, {possible} that the log cannot exclude"),
            certain == 0,
        ),
        finding(
            format!(
                "at the edge (1x) the high level keeps {:.0} %, at most one flow a second is evicted",
                EDGE_SERVED * 100.0
            ),
            format!(
                "{:.1} %; {} evicted in {seconds} s; overload begins {overloads:.1} times a second",
                kept * 100.0,
                edge.events.evictions,
            ),
            kept >= EDGE_SERVED && edge.events.evictions as f64 <= seconds,
        ),
    ]
}

/// As a table.
pub(crate) fn table(findings: &[Finding]) -> String {
    let mut text = "| must hold | measured | |\n| --- | --- | --- |\n".to_owned();
    for Finding { what, measured, holds } in findings {
        let _ = writeln!(text, "| {what} | {measured} | {} |", if *holds { "pass" } else { "FAIL" });
    }
    text
}

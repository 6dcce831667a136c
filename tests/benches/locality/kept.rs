//! What is said about clients that keep their connections: a table beside the one with a connection for each request, bars, and what
//! must hold.

use anyhow::Result;
use dispatcher_sim::plot::{Bar, Bars, Group, Panel};
use tests::report::{Cell, Column, Section, Spread, Table};

use crate::{
    Measured,
    finding::spread,
    measure::{CLIENTS, Sample},
    subject::Subject,
};

/// In percent of all requests: how much less often than with a connection for each request an object may be found in a cache.
const FEWER_HITS: f64 = 1.0;

/// Adds it, if it was measured.
pub(crate) fn add(section: &mut Section, measured: &[Measured]) -> Result<()> {
    let kept: Vec<Subject> = Subject::chosen().into_iter().filter(|subject| subject.keeps()).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let all = Subject::chosen().into_iter().filter(|subject| *subject == Subject::Context).chain(kept);
    let all: Vec<Subject> = all.collect();
    section.text(text());
    let caption = "Hit rate and latency of clients that keep their connections";
    section.plot("kept", caption, bars(measured, &all).svg()?);
    section.table(table(measured, &all));
    goals(section, measured, &all);
    Ok(())
}

fn text() -> String {
    format!(
        "**Clients that keep their connections**: the same load, servers all alike, but each of {CLIENTS} clients keeps its connection and asks on it for \
         whatever comes next, in turn; one that has no answer yet opens another. So the requests of a connection are for objects of all servers. \
         *By request*, the dispatcher chooses a server for each and the connection goes there; *by connection* (`per_request = false`), the first request \
         chooses for all. HAProxy chooses for each request, whatever clients do with their connections. The first line is that of the table above."
    )
}

fn table(measured: &[Measured], subjects: &[Subject]) -> Table {
    let mut table = Table::new(
        "kept",
        [
            Column::text("connections"),
            Column::text("balancer"),
            Column::number("hit rate", "%", 1),
            Column::number("p50", "ms", 1),
            Column::number("p99", "ms", 1),
            Column::number("without an answer", "%", 1),
            Column::number("clients over and over", "requests/s", 0),
            Column::number("on connections that were kept", "%", 1),
        ],
    );
    for subject in subjects {
        let value = |value: fn(&Sample) -> f64| Cell::from(spread(measured, *subject, 0, value));
        table.row([
            if subject.keeps() { "kept" } else { "one a request" }.into(),
            Cell::text(subject.name()),
            value(|sample| sample.hit_rate * 100.0),
            value(|sample| sample.p50_ms),
            value(|sample| sample.p99_ms),
            value(|sample| sample.unanswered * 100.0),
            value(|sample| sample.per_second),
            value(|sample| sample.on_kept * 100.0),
        ]);
    }
    table
}

fn bars(measured: &[Measured], subjects: &[Subject]) -> Bars {
    let panel = |title: &str, value: fn(&Sample) -> f64| {
        let bar = |subject: &Subject| {
            let Spread { median, low, high } = spread(measured, *subject, 0, value);
            Some(Bar { value: median, low, high })
        };
        let group = Group { label: String::new(), bars: subjects.iter().map(bar).collect() };
        Panel { title: title.to_owned(), groups: vec![group] }
    };
    Bars {
        series: subjects.iter().map(|subject| subject.name()).collect(),
        panels: vec![
            panel("hit rate, %", |sample| sample.hit_rate * 100.0),
            panel("p99, ms", |sample| sample.p99_ms),
        ],
    }
}

fn goals(section: &mut Section, measured: &[Measured], subjects: &[Subject]) {
    let hits = |subject: Subject| {
        let rate = |sample: &Sample| sample.hit_rate * 100.0;
        subjects.contains(&subject).then(|| spread(measured, subject, 0, rate).median)
    };
    let Some(ours) = hits(Subject::KeptPerRequest) else { return };
    let measured = |other: f64| format!("{ours:.1} % and {other:.1} %");
    if let Some(single) = hits(Subject::Context) {
        let what = format!(
            "kept connections, by request: hit rate at most {FEWER_HITS} % lower than with a connection for each request"
        );
        section.goal(&what, measured(single), ours >= single - FEWER_HITS);
    }
    for rival in subjects.iter().filter(|subject| matches!(subject, Subject::KeptUri(_))) {
        let what = format!("kept connections, by request: hit rate at least that of {}", rival.name());
        section.goal(&what, hits(*rival).map(measured).unwrap_or_default(), hits(*rival) <= Some(ours));
    }
}

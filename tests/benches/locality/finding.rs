//! What is said about the figures: a table and bars of each subject with and without a slow server, and what must hold.

use anyhow::Result;
use dispatcher_sim::plot::{Bar, Bars, Group, Panel};
use tests::report::{Cell, Column, Section, Spread, Table};

use crate::{
    Measured, kept,
    measure::{
        CLIENTS, COUNTED, ORIGIN_TIME, PATIENCE, RATE, SETTLING, SLOW_ORIGIN_TIME, STEADY_COUNTED, Sample,
    },
    subject::{SERVERS, SITE, Subject},
    workload::{EXPONENT, OBJECTS},
};

/// How much less than `balance uri`'s our p99 must be, with a slow server.
const P99_OF_URI: f64 = 0.7;

/// Bars of latency end here, or that of a subject in overload would make all others invisible.
const LONGEST_BAR_MS: f64 = 150.0;

const SITUATIONS: [&str; 2] = ["all alike", "one slow"];

/// Prints and writes the section.
pub(crate) fn publish(measured: &[Measured], rounds: usize) -> Result<()> {
    let mut section = Section::new("locality", "Locality: caches in front of a slow origin");
    section.text(method(rounds));
    let caption = "Hit rate, latency and requests a second by subject, with and without a slow server";
    section.plot("figure", caption, bars(measured).svg()?);
    section.table(table(measured));
    goals(&mut section, measured);
    kept::add(&mut section, measured)?;
    section.text(REMARKS);
    section.publish()
}

fn method(rounds: usize) -> String {
    format!(
        "{SERVERS} servers, each nginx with a `proxy_cache` for {room} of the site's {OBJECTS} objects of {size} KiB, in front of an \
         origin that takes {origin} ms for an object and does {threads} at a time. Clients ask by Zipf's law with exponent {EXPONENT}, \
         a connection for each request. The cluster is scaled down to a machine that is all of its hosts: a server passes {pace} \
         requests a second, one after the other (nginx's `limit_req`). The *slow* one passes {slow_pace}, and its origin takes \
         {slow_origin} ms; it is another one in each round.\n\n\
         Each subject begins with empty caches and is asked for every object once. Then {CLIENTS} clients ask over and over for \
         {settling} s, in which caches and policies settle, and {counted} s more, which give requests/s. Then {RATE} requests a second \
         come as a Poisson process, whatever becomes of those before them, for {steady} s, which give the rest: latencies are from \
         when a request was due, and whoever has no whole answer after {patience} s counts as that. Then a server becomes slow, and \
         from \"over and over\" on it all comes again, with {resettling} s to settle. Medians of {rounds} rounds, alternating; in brackets the least and the most.",
        room = SITE.room,
        size = SITE.object_bytes >> 10,
        origin = ORIGIN_TIME.as_millis(),
        threads = SITE.origin_threads,
        pace = SITE.pace,
        slow_pace = SITE.slow_pace,
        slow_origin = SLOW_ORIGIN_TIME.as_millis(),
        settling = SETTLING[0].as_secs(),
        resettling = SETTLING[1].as_secs(),
        counted = COUNTED.as_secs_f64(),
        steady = STEADY_COUNTED.as_secs_f64(),
        patience = PATIENCE.as_secs(),
    )
}

const REMARKS: &str = "Ours has the defaults of its configuration. HAProxy shares connections to servers (`http-reuse always`), and its ring of \
    hashes is as smooth as it can be (`weight 100` everywhere). *uri N* is `balance uri` with `hash-balance-factor N`; its manual calls 125 to \
    200 reasonable. The factor bounds a server's requests in flight, of which there are few when servers are quick, so some requests always \
    spill over to servers that have not cached their objects: a small factor costs hits, a large one leaves more to a slow server. Ours moves \
    weights instead, by the service times that servers report, a little at the end of every window of 2048 requests; what still misses are \
    objects that have just changed their home. As long as those are more than one in a hundred, p99 is what a miss takes, and no balancer's can be \
    much lower; below that it falls to what a hit takes.";

fn table(measured: &[Measured]) -> Table {
    let mut table = Table::new(
        "figures",
        [
            Column::text("servers"),
            Column::text("balancer"),
            Column::number("hit rate", "%", 1),
            Column::number("p50", "ms", 1),
            Column::number("p99", "ms", 1),
            Column::number("without an answer", "%", 1),
            Column::number("clients over and over", "requests/s", 0),
            Column::number("at the slow server", "%", 1),
        ],
    );
    for (situation, name) in SITUATIONS.iter().enumerate() {
        for subject in subjects() {
            let spread = |value: fn(&Sample) -> f64| Cell::from(spread(measured, subject, situation, value));
            table.row([
                (*name).into(),
                Cell::text(subject.name()),
                spread(|sample| sample.hit_rate * 100.0),
                spread(|sample| sample.p50_ms),
                spread(|sample| sample.p99_ms),
                spread(|sample| sample.unanswered * 100.0),
                spread(|sample| sample.per_second),
                if situation == 0 { Cell::None } else { spread(|sample| sample.at_slow * 100.0) },
            ]);
        }
    }
    table
}

fn bars(measured: &[Measured]) -> Bars {
    let panel = |title: &str, most: f64, value: fn(&Sample) -> f64| Panel {
        title: title.to_owned(),
        groups: SITUATIONS
            .iter()
            .enumerate()
            .map(|(situation, name)| Group {
                label: (*name).to_owned(),
                bars: subjects()
                    .map(|subject| {
                        let Spread { median, low, high } = spread(measured, subject, situation, value);
                        Some(Bar { value: median.min(most), low: low.min(most), high: high.min(most) })
                    })
                    .collect(),
            })
            .collect(),
    };
    Bars {
        series: subjects().map(|subject| subject.name()).collect(),
        panels: vec![
            panel("hit rate, %", 100.0, |sample| sample.hit_rate * 100.0),
            panel("requests/s, clients over and over", f64::INFINITY, |sample| sample.per_second),
            panel(&format!("p99, ms (bars end at {LONGEST_BAR_MS})"), LONGEST_BAR_MS, |sample| sample.p99_ms),
            panel(&format!("p50, ms (bars end at {LONGEST_BAR_MS})"), LONGEST_BAR_MS, |sample| sample.p50_ms),
        ],
    }
}

/// Those whose clients have a connection for each request.
fn subjects() -> impl Iterator<Item = Subject> {
    Subject::chosen().into_iter().filter(|subject| !subject.keeps())
}

/// Of the rounds.
pub(crate) fn spread(
    measured: &[Measured],
    subject: Subject,
    situation: usize,
    value: fn(&Sample) -> f64,
) -> Spread {
    let of_subject = measured.iter().filter(|measured| measured.subject == subject);
    let samples: Vec<f64> = of_subject.map(|measured| value(&measured.samples[situation])).collect();
    Spread::of(&samples)
}

/// Against each factor, as none is the best in all.
fn goals(section: &mut Section, measured: &[Measured]) {
    let median = |subject, situation, value: fn(&Sample) -> f64| {
        measured
            .iter()
            .any(|measured| measured.subject == subject)
            .then(|| spread(measured, subject, situation, value).median)
    };
    for rival in Subject::chosen().into_iter().filter(|subject| matches!(subject, Subject::Uri(_))) {
        let both = |situation, value: fn(&Sample) -> f64| {
            Some((median(Subject::Context, situation, value)?, median(rival, situation, value)?))
        };
        for (situation, name) in SITUATIONS.iter().enumerate() {
            let Some((ours, theirs)) = both(situation, |sample| sample.hit_rate * 100.0) else { continue };
            let what = format!("servers {name}: hit rate at least that of {}", rival.name());
            section.goal(&what, format!("{ours:.1} % and {theirs:.1} %"), ours >= theirs);
        }
        let Some((ours, theirs)) = both(1, |sample| sample.p99_ms) else { continue };
        let lower = (1.0 - P99_OF_URI) * 100.0;
        section.goal(
            &format!(
                "servers {}: p99 at least {lower:.0} % lower than that of {}",
                SITUATIONS[1],
                rival.name()
            ),
            format!("{ours:.1} ms and {theirs:.1} ms: {:.0} % lower", (1.0 - ours / theirs) * 100.0),
            ours <= theirs * P99_OF_URI,
        );
    }
}

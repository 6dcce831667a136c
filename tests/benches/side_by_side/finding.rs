//! The section: figures, ratios, and what must hold.

use anyhow::Result;
use dispatcher_sim::plot::{Bar, Bars, Group, Panel};
use tests::{
    Noise,
    report::{Cell, Column, Section, Spread, Table},
};

use crate::{Outcome, case::Case, sample::Sample, subject::Subject};

pub(crate) fn section(outcomes: &[Outcome], noise: Noise) -> Result<Section> {
    let runs = Runs(outcomes);
    let mut section = Section::new("side_by_side", "Side by side");
    section.text(INTRODUCTION);
    section.text(format!(
        "{} rounds for each line; medians, in brackets the least and the most. The machine without load takes {:.0} ms of CPU time a \
         second, which is subtracted.",
        outcomes.iter().map(|outcome| outcome.round).max().unwrap_or(0),
        noise.0 * 1e3,
    ));
    if noise.is_too_much() {
        section
            .text("**The machine was busy with something else: CPU times mean nothing, and rates little.**");
    }
    section.plot("rate", "Requests a second by case", runs.bars("requests/s", |sample| sample.rate).svg()?);
    section.table(runs.figures());
    section.text(BOUND);
    section.plot(
        "cpu",
        "CPU time of a request by case",
        runs.bars("µs CPU a request", |sample| sample.cpu_us).svg()?,
    );
    section.text(
        "The same as ratios of medians, HAProxy's better one taken. *Direct / HAProxy* bounds what any front-end before one server can reach:",
    );
    section.table(runs.ratios());
    runs.goals(&mut section, !noise.is_too_much());
    Ok(section)
}

const INTRODUCTION: &str = "\
wrk (one thread; 16 connections, 32 where each is for one request) asks one nginx of one worker: itself (*direct*), or by way of a front-end
on a host of its own. CPU time is that of everything: wrk, front-end, server, and the links between them. *Above direct* is what a front-end costs.

- **Wiring**: client and front-end are the two ends of a veth. The server's interface and the client's second one are macvlans behind the
  front-end's second veth, as virtual functions of one card would be; that is the way of direct responses, too. There is no bridge: it
  takes a fifth of everybody's tiny requests, and real hosts do not pay for their switch.
- **dispatcher**: `context`, default settings, XDP in native mode. Its responses do not pass the front-end and have all offloads (checksum, TSO, GSO).
  Only the client's link into the front-end is without, as XDP redirects its packets as they are: there are requests on it, which are small.
- **HAProxy** and **nginx**: Debian's, all offloads on everywhere. HAProxy with `nbthread 1`, `http-reuse always`, `tcp-smart-accept`,
  `tcp-smart-connect`, default buffers as its manual insists, and once more with `splice-response` and pipes of 1 MiB, which gain with large responses
  and lose with others: of the two, the better counts. nginx with one worker, `keepalive` to the server, buffers that hold a response. No logs.
  The dispatcher's slow path is one thread, too; XDP and TC run where packets are.
- **Congestion control** is reno everywhere: where nothing is lost it does what Linux's default, cubic, does. BBR, where a machine has it as default, makes a
  proxy wait between segments and takes half of HAProxy's requests/s for 64 KB.
- wrk waits for each answer before it asks again, so percentiles are those of a full machine, not of a given load.";

const BOUND: &str = "\
What bounds the dispatcher here is the veth into it: *above direct* divided by the packets is what one costs that takes this detour, some microseconds, of which
the programs are a tenth or so (see below). The kernel copies each packet into a page for XDP, polls the veth, and makes a packet of its own of it again behind
the redirect; a network card's driver does none of that. With large responses these packets are acknowledgements.";

/// All runs.
struct Runs<'a>(&'a [Outcome]);

impl Runs<'_> {
    fn cases(&self) -> impl Iterator<Item = Case> {
        Case::ALL.into_iter().filter(|case| self.0.iter().any(|outcome| outcome.case == *case))
    }

    fn subjects(&self) -> Vec<Subject> {
        Subject::ALL
            .into_iter()
            .filter(|subject| self.0.iter().any(|outcome| outcome.subject == *subject))
            .collect()
    }

    fn values(&self, case: Case, subject: Subject, value: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let runs = self.0.iter().filter(|outcome| outcome.case == case && outcome.subject == subject);
        let values: Vec<f64> = runs.map(|outcome| value(&outcome.sample)).collect();
        (!values.is_empty()).then(|| Spread::of(&values))
    }

    /// What a request takes above a direct one of the same round.
    fn above_direct(&self, case: Case, subject: Subject) -> Option<Spread> {
        let find = |subject: Subject, round: usize| {
            let mut runs = self.0.iter().filter(|outcome| outcome.case == case && outcome.subject == subject);
            runs.find(|outcome| outcome.round == round).map(|outcome| outcome.sample.cpu_us)
        };
        let rounds = 1..=self.0.iter().map(|outcome| outcome.round).max().unwrap_or(0);
        let above: Vec<f64> =
            rounds.filter_map(|round| Some(find(subject, round)? - find(Subject::Direct, round)?)).collect();
        (subject != Subject::Direct && !above.is_empty()).then(|| Spread::of(&above))
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(
            "figures",
            [
                Column::text("case"),
                Column::text("by way of"),
                Column::number("requests/s", "", 0),
                Column::number("p50", "ms", 2),
                Column::number("p99", "ms", 2),
                Column::number("CPU a request", "µs", 1),
                Column::number("above direct", "µs", 1),
                Column::number("packets to the server by way of XDP", "", 1),
                Column::number("CPU a GB", "s", 2),
            ],
        );
        for case in self.cases() {
            for subject in self.subjects() {
                let values = |value: fn(&Sample) -> f64| Cell::from(self.values(case, subject, value));
                // A GB is 10^9 bytes; 10^6 µs are a second.
                let per_gb = case.bytes().and_then(|bytes| {
                    self.values(case, subject, |sample| sample.cpu_us * 1e3 / bytes as f64)
                });
                let packets = (subject == Subject::Dispatcher)
                    .then(|| self.values(case, subject, |sample| sample.packets.unwrap_or_default()))
                    .flatten();
                table.row([
                    case.name().into(),
                    subject.name().into(),
                    values(|sample| sample.rate),
                    values(|sample| sample.p50_ms),
                    values(|sample| sample.p99_ms),
                    values(|sample| sample.cpu_us),
                    self.above_direct(case, subject).into(),
                    packets.into(),
                    per_gb.into(),
                ]);
            }
        }
        table
    }

    fn rate(&self, case: Case, subject: Subject) -> Option<f64> {
        self.values(case, subject, |sample| sample.rate).map(|spread| spread.median)
    }

    /// Of the HAProxy that makes more.
    fn rate_of_haproxy(&self, case: Case) -> Option<f64> {
        Subject::HAPROXIES.iter().filter_map(|subject| self.rate(case, *subject)).max_by(f64::total_cmp)
    }

    /// Ours as a part of HAProxy's, of the one that takes less.
    fn cpu_above_direct(&self, case: Case) -> Option<f64> {
        let above = |subject| self.above_direct(case, subject).map(|spread| spread.median);
        let haproxy = Subject::HAPROXIES.into_iter().filter_map(above).min_by(f64::total_cmp)?;
        Some(above(Subject::Dispatcher)? / haproxy)
    }

    fn ratios(&self) -> Table {
        let mut table = Table::new(
            "ratios",
            [
                Column::text("case"),
                Column::number("requests/s: dispatcher / HAProxy", "", 2),
                Column::number("direct / HAProxy", "", 2),
                Column::number("dispatcher / direct", "", 2),
                Column::number("dispatcher / nginx", "", 2),
                Column::number("CPU above direct: dispatcher / HAProxy", "", 3),
            ],
        );
        for case in self.cases() {
            let ratio = |one: Option<f64>, other: Option<f64>| {
                Cell::from(one.zip(other).map(|(one, other)| one / other))
            };
            let rate = |subject| self.rate(case, subject);
            let [direct, ours, nginx] = [Subject::Direct, Subject::Dispatcher, Subject::Nginx].map(rate);
            let haproxy = self.rate_of_haproxy(case);
            table.row([
                case.name().into(),
                ratio(ours, haproxy),
                ratio(direct, haproxy),
                ratio(ours, direct),
                ratio(ours, nginx),
                self.cpu_above_direct(case).into(),
            ]);
        }
        table
    }

    fn goals(&self, section: &mut Section, cpu_counts: bool) {
        for case in self.cases() {
            let (least, most_cpu) = bounds(case);
            let most_cpu = most_cpu.filter(|_| cpu_counts);
            let rate = |subject| self.rate(case, subject);
            if let (Some(ours), Some(haproxy)) = (rate(Subject::Dispatcher), self.rate_of_haproxy(case)) {
                let what = format!("{}: at least {least} times HAProxy's requests/s", case.name());
                let mut measured = format!("{:.2}", ours / haproxy);
                // Nobody can do more than the server itself.
                if let Some(direct) = rate(Subject::Direct).filter(|direct| direct / haproxy < least) {
                    measured += &format!("; the server itself has {:.2}", direct / haproxy);
                }
                section.goal(&what, measured, ours / haproxy >= least);
            }
            if case == Case::Large
                && let (Some(ours), Some(direct)) = (rate(Subject::Dispatcher), rate(Subject::Direct))
            {
                let what = format!("{}: at least {OF_DIRECT} of a direct connection's", case.name());
                section.goal(&what, format!("{:.2}", ours / direct), ours / direct >= OF_DIRECT);
            }
            if let (Some(most), Some(cpu)) = (most_cpu, self.cpu_above_direct(case)) {
                let what = format!("{}: CPU time above direct at most {most} of HAProxy's", case.name());
                section.goal(&what, format!("{cpu:.3}"), cpu <= most);
            }
        }
    }

    fn bars(&self, unit: &str, value: impl Fn(&Sample) -> f64) -> Bars {
        let subjects = self.subjects();
        let bar = |case, subject: &Subject| {
            let spread = self.values(case, *subject, &value)?;
            Some(Bar { value: spread.median, low: spread.low, high: spread.high })
        };
        let panel = |case: Case| Panel {
            title: format!("{}: {unit}", case.name()),
            groups: vec![Group {
                label: String::new(),
                bars: subjects.iter().map(|subject| bar(case, subject)).collect(),
            }],
        };
        Bars {
            series: subjects.iter().map(|subject| subject.name().to_owned()).collect(),
            panels: self.cases().map(panel).collect(),
        }
    }
}

/// Of large responses, which pass us by.
const OF_DIRECT: f64 = 0.9;

/// Against HAProxy: requests a second at least so many times, CPU time above direct at most so much of it.
const fn bounds(case: Case) -> (f64, Option<f64>) {
    match case {
        Case::Tiny => (1.4, Some(0.4)),
        Case::Connections => (1.5, None),
        Case::Medium => (3.5, Some(0.1)),
        Case::Large => (7.0, Some(0.02)),
    }
}

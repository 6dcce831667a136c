//! The section: figures, ratios, and what must hold.

use anyhow::Result;
use dispatcher_sim::plot::{Bar, Bars, Group, Panel};
use tests::report::{Cell, Column, Section, Spread, Table};

use crate::{
    Outcome,
    case::Case,
    sample::{Noise, Sample},
    subject::Subject,
};

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
    section.plot("rate", "Requests a second by case", runs.bars("requests/s", |sample| sample.rate).svg()?);
    section.table(runs.figures());
    section.plot(
        "cpu",
        "CPU time of a request by case",
        runs.bars("µs CPU a request", |sample| sample.cpu_us).svg()?,
    );
    section.text("The same as ratios of medians:");
    section.table(runs.ratios());
    runs.goals(&mut section);
    Ok(section)
}

const INTRODUCTION: &str = "\
wrk (one thread; 16 connections, 32 where each is for one request) asks one nginx of one worker: itself (*direct*), or by way of a front-end
on a host of its own. CPU time is that of everything: wrk, front-end, server, and the links between them. *Above direct* is what a front-end costs.

- **Wiring**: client and front-end are the two ends of a veth. The server's interface and the client's second one are macvlans behind the
  front-end's second veth, as virtual functions of one card would be; that is the way of direct responses, too. There is no bridge.
- **dispatcher**: `context`, default settings, XDP in native mode. Its responses do not pass the front-end and have all offloads (checksum, TSO, GSO). Only the client's
  link into the front-end is without, as XDP redirects its packets as they are: there are requests on it, which are small.
- **HAProxy** and **nginx**: Debian's, all offloads on everywhere. HAProxy with `nbthread 1`, `http-reuse always`, `option splice-auto`, `tcp-smart-accept`,
  `tcp-smart-connect`; nginx with one worker, `keepalive` to the server, buffers that hold a response in memory. No logs. The dispatcher's slow path is
  one thread, too; XDP and TC run where packets are.
- wrk waits for each answer before it asks again, so percentiles are those of a full machine, not of a given load.";

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
                table.row([
                    case.name().into(),
                    subject.name().into(),
                    values(|sample| sample.rate),
                    values(|sample| sample.p50_ms),
                    values(|sample| sample.p99_ms),
                    values(|sample| sample.cpu_us),
                    self.above_direct(case, subject).into(),
                    per_gb.into(),
                ]);
            }
        }
        table
    }

    fn rate(&self, case: Case, subject: Subject) -> Option<f64> {
        self.values(case, subject, |sample| sample.rate).map(|spread| spread.median)
    }

    fn ratio_of_rates(&self, case: Case, rival: Subject) -> Option<f64> {
        Some(self.rate(case, Subject::Dispatcher)? / self.rate(case, rival)?)
    }

    fn ratio_above_direct(&self, case: Case, rival: Subject) -> Option<f64> {
        let above = |subject| self.above_direct(case, subject).map(|spread| spread.median);
        Some(above(Subject::Dispatcher)? / above(rival)?)
    }

    fn ratios(&self) -> Table {
        let mut table = Table::new(
            "ratios",
            [
                Column::text("case"),
                Column::number("requests/s: dispatcher / direct", "", 2),
                Column::number("dispatcher / HAProxy", "", 2),
                Column::number("dispatcher / nginx", "", 2),
                Column::number("CPU above direct: dispatcher / HAProxy", "", 3),
                Column::number("dispatcher / nginx", "", 3),
            ],
        );
        for case in self.cases() {
            table.row([
                case.name().into(),
                self.ratio_of_rates(case, Subject::Direct).into(),
                self.ratio_of_rates(case, Subject::Haproxy).into(),
                self.ratio_of_rates(case, Subject::Nginx).into(),
                self.ratio_above_direct(case, Subject::Haproxy).into(),
                self.ratio_above_direct(case, Subject::Nginx).into(),
            ]);
        }
        table
    }

    fn goals(&self, section: &mut Section) {
        for case in self.cases() {
            let (rate, cpu) = bounds(case);
            if let Some(ratio) = self.ratio_of_rates(case, Subject::Haproxy) {
                let what = format!("{}: at least {rate} times HAProxy's requests/s", case.name());
                section.goal(&what, format!("{ratio:.2}"), ratio >= rate);
            }
            if case == Case::Large
                && let Some(ratio) = self.ratio_of_rates(case, Subject::Direct)
            {
                let what = format!("{}: at least {OF_DIRECT} of a direct connection's", case.name());
                section.goal(&what, format!("{ratio:.2}"), ratio >= OF_DIRECT);
            }
            if let Some(cpu) = cpu
                && let Some(ratio) = self.ratio_above_direct(case, Subject::Haproxy)
            {
                let what = format!("{}: CPU time above direct at most {cpu} of HAProxy's", case.name());
                section.goal(&what, format!("{ratio:.3}"), ratio <= cpu);
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

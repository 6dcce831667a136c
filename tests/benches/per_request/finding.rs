//! The section: figures, ratios, and what must hold.

use anyhow::Result;
use dispatcher_sim::plot::{Bar, Bars, Group, Panel};
use tests::{
    Noise,
    report::{Cell, Column, Section, Spread, Table},
};

use crate::{
    Outcome,
    case::Case,
    sample::{CONNECTIONS, Parts, Sample},
    subject::{SERVERS, Subject},
};

/// Requests a second of requests that stay, of those on connections that nobody follows.
const STAYING: f64 = 0.9;

/// Part of the requests for which a server must be chosen anew, where all stay: all but the first of each connection.
const STAYED: f64 = 0.99;

/// Part of the requests that must move, where in turn each is for another server: enough to say what moves cost.
const MOVED: f64 = 0.5;

pub(crate) fn section(outcomes: &[Outcome], noise: Noise) -> Result<Section> {
    let runs = Runs(outcomes);
    let mut section =
        Section::new("per_request", "Per request: a server for each request of a kept connection");
    section.text(introduction());
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
    section.plot(
        "rate",
        "Requests a second by case and way to choose",
        runs.bars("requests/s", |sample| sample.rate).svg()?,
    );
    section.table(runs.figures());
    section.plot(
        "cpu",
        "CPU time of a request by case and way to choose",
        runs.bars("µs CPU a request", |sample| sample.cpu_us).svg()?,
    );
    section.text(RATIOS);
    section.table(runs.ratios());
    runs.goals(&mut section);
    Ok(section)
}

fn introduction() -> String {
    format!(
        "wrk (one thread, {CONNECTIONS} connections that it keeps) asks {SERVERS} servers, each an nginx of one worker, by way of a front-end. Wiring, \
         settings of HAProxy and congestion control are those of *side by side*. All of the dispatcher's are services of one front-end:\n\n\
         - **by connection**: `per_request = false`, `hash`: the first request chooses, the others follow it. As all ask for the same, all are at one server.\n\
         - **staying**: the same with `per_request = true`: each request is classified, and chooses the server that has its connection.\n\
         - **spread**: `per_request = false`, `round-robin`: connections go to all servers.\n\
         - **moving**: the same with `per_request = true`: with each request the connection goes to the server whose turn it is. The turns are those of all \
           connections, so once in a while a connection's own server is next.\n\
         - **HAProxy**: `roundrobin` for each request, over connections to servers that all clients share."
    )
}

const RATIOS: &str = "\
The same as ratios of medians, HAProxy's better one taken; *CPU of following* is what a request that stays takes above one on a connection that nobody
follows, *CPU of a move* what a request takes above one that was spread, divided by the part that moved, both round by round:";

/// All runs.
struct Runs<'a>(&'a [Outcome]);

impl Runs<'_> {
    fn cases(&self) -> impl Iterator<Item = Case> {
        Case::ALL.into_iter().filter(|case| self.0.iter().any(|outcome| outcome.case == *case))
    }

    fn subjects(&self) -> Vec<Subject> {
        let ran = |subject: &Subject| self.0.iter().any(|outcome| outcome.subject == *subject);
        Subject::ALL.into_iter().filter(ran).collect()
    }

    /// By round.
    fn samples(&self, case: Case, subject: Subject) -> impl Iterator<Item = (usize, Sample)> {
        let runs = self.0.iter().filter(move |outcome| outcome.case == case && outcome.subject == subject);
        runs.map(|outcome| (outcome.round, outcome.sample))
    }

    /// Over the rounds that have a value.
    fn values(&self, case: Case, subject: Subject, value: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        spread(self.samples(case, subject).filter_map(|(_, sample)| value(&sample)))
    }

    /// Of two subjects in the same round.
    fn pairs(
        &self,
        case: Case,
        subjects: [Subject; 2],
        value: impl Fn(Sample, Sample) -> Option<f64>,
    ) -> Option<Spread> {
        let [one, other] = subjects;
        let pairs = self.samples(case, one).filter_map(|(round, sample)| {
            let (_, of_other) = self.samples(case, other).find(|(of_other, _)| *of_other == round)?;
            value(sample, of_other)
        });
        spread(pairs)
    }

    fn rate(&self, case: Case, subject: Subject) -> Option<f64> {
        self.values(case, subject, |sample| Some(sample.rate)).map(|spread| spread.median)
    }

    /// Of the HAProxy that makes more.
    fn rate_of_haproxy(&self, case: Case) -> Option<f64> {
        Subject::HAPROXIES.iter().filter_map(|subject| self.rate(case, *subject)).max_by(f64::total_cmp)
    }

    fn part(&self, case: Case, subject: Subject, part: fn(&Parts) -> f64) -> Option<Spread> {
        self.values(case, subject, |sample| sample.parts.as_ref().map(part))
    }

    fn figures(&self) -> Table {
        let mut table = Table::new(
            "figures",
            [
                Column::text("response"),
                Column::text("way to choose"),
                Column::number("requests/s", "", 0),
                Column::number("p50", "ms", 2),
                Column::number("p99", "ms", 2),
                Column::number("CPU a request", "µs", 1),
                Column::number("stayed", "%", 1),
                Column::number("moved", "%", 1),
                Column::number("moves/s", "", 0),
                Column::number("kept as busy", "%", 2),
                Column::number("by the slow path", "%", 2),
            ],
        );
        for case in self.cases() {
            for subject in self.subjects() {
                if self.rate(case, subject).is_some() {
                    table.row(self.row(case, subject));
                }
            }
        }
        table
    }

    fn row(&self, case: Case, subject: Subject) -> [Cell; 11] {
        let value =
            |value: fn(&Sample) -> f64| Cell::from(self.values(case, subject, |sample| Some(value(sample))));
        let percent = |part: fn(&Parts) -> f64| {
            let parts = |sample: &Sample| sample.parts.as_ref().map(|parts| part(parts) * 100.0);
            Cell::from(self.values(case, subject, parts))
        };
        let moves = |sample: &Sample| sample.parts.map(|parts| parts.moved * sample.rate);
        [
            case.name().into(),
            subject.name().into(),
            value(|sample| sample.rate),
            value(|sample| sample.p50_ms),
            value(|sample| sample.p99_ms),
            value(|sample| sample.cpu_us),
            percent(|parts| parts.stayed),
            percent(|parts| parts.moved),
            self.values(case, subject, moves).into(),
            percent(|parts| parts.kept_busy),
            percent(|parts| parts.asked),
        ]
    }

    fn ratios(&self) -> Table {
        let mut table = Table::new(
            "ratios",
            [
                Column::text("response"),
                Column::number("requests/s: staying / by connection", "", 2),
                Column::number("moving / spread", "", 2),
                Column::number("spread / HAProxy", "", 2),
                Column::number("moving / HAProxy", "", 2),
                Column::number("CPU of following", "µs", 1),
                Column::number("CPU of a move", "µs", 1),
            ],
        );
        for case in self.cases() {
            let ratio = |one: Option<f64>, other: Option<f64>| {
                Cell::from(one.zip(other).map(|(one, other)| one / other))
            };
            let rate = |subject| self.rate(case, subject);
            let haproxy = self.rate_of_haproxy(case);
            let [spread, moving] = [Subject::Spread, Subject::Moving].map(rate);
            table.row([
                case.name().into(),
                ratio(rate(Subject::Staying), rate(Subject::Connections)),
                ratio(moving, spread),
                ratio(spread, haproxy),
                ratio(moving, haproxy),
                self.cpu_of_following(case).into(),
                self.cpu_of_a_move(case).into(),
            ]);
        }
        table
    }

    fn cpu_of_following(&self, case: Case) -> Option<Spread> {
        self.pairs(case, [Subject::Staying, Subject::Connections], |staying, followed_by_none| {
            Some(staying.cpu_us - followed_by_none.cpu_us)
        })
    }

    fn cpu_of_a_move(&self, case: Case) -> Option<Spread> {
        self.pairs(case, [Subject::Moving, Subject::Spread], |moving, spread| {
            let moved = moving.parts?.moved;
            (moved >= MOVED).then(|| (moving.cpu_us - spread.cpu_us) / moved)
        })
    }

    fn goals(&self, section: &mut Section) {
        for case in self.cases() {
            self.rate_goals(section, case);
            let part = |subject, part| Some(self.part(case, subject, part)?.median);
            let stayed = part(Subject::Staying, |parts| parts.stayed);
            if let Some((stayed, moved)) = stayed.zip(part(Subject::Staying, |parts| parts.moved)) {
                let [least, percent] = [STAYED, stayed].map(|part| part * 100.0);
                let what = format!(
                    "{}, staying: at least {least:.0} % are chosen for and stay, none moves",
                    case.name()
                );
                let holds = stayed >= STAYED && moved == 0.0;
                section.goal(&what, format!("{percent:.2} % and {:.2} %", moved * 100.0), holds);
            }
            if let Some(moved) = part(Subject::Moving, |parts| parts.moved) {
                let what =
                    format!("{}, moving: at least {:.0} % of the requests do", case.name(), MOVED * 100.0);
                section.goal(&what, format!("{:.1} %", moved * 100.0), moved >= MOVED);
            }
        }
    }

    fn rate_goals(&self, section: &mut Section, case: Case) {
        let rate = |subject| self.rate(case, subject);
        if let (Some(staying), Some(connections)) = (rate(Subject::Staying), rate(Subject::Connections)) {
            let what =
                format!("{}, staying: at least {STAYING} of the requests/s by connection", case.name());
            section.goal(&what, format!("{:.2}", staying / connections), staying >= connections * STAYING);
        }
        if let (Some(moving), Some(haproxy)) = (rate(Subject::Moving), self.rate_of_haproxy(case)) {
            let least = of_haproxy(case);
            let what = format!("{}, moving: at least {least} times HAProxy's requests/s", case.name());
            let mut measured = format!("{:.2}", moving / haproxy);
            // Moves cannot make the way to the servers any quicker than it is without them.
            if let Some(spread) = rate(Subject::Spread).filter(|spread| spread / haproxy < least) {
                measured += &format!("; without moves (spread) it is {:.2}", spread / haproxy);
            }
            section.goal(&what, measured, moving >= haproxy * least);
        }
    }

    fn bars(&self, unit: &str, value: impl Fn(&Sample) -> f64) -> Bars {
        let subjects = self.subjects();
        let bar = |case, subject: &Subject| {
            let Spread { median, low, high } = self.values(case, *subject, |sample| Some(value(sample)))?;
            Some(Bar { value: median, low, high })
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

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| Spread::of(&values))
}

/// Requests a second that move, at least so many times those of HAProxy.
const fn of_haproxy(case: Case) -> f64 {
    match case {
        Case::Tiny => 1.0,
        Case::Medium => 4.0,
    }
}

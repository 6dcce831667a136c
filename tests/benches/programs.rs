//! What the programs cost where they run: mean time a run of each, as the kernel accounts it (`run_time_ns / run_cnt`), while wrk
//! drives the rig.

mod account;

use std::time::Duration;

use anyhow::Result;
use tests::{
    Family, FrontOptions, Rig, Wrk,
    report::{Column, Section, Spread, Table},
};

use self::account::{Account, Accounting, Programs};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

/// Programs and the role that runs them.
const PROGRAMS: [(&str, &str); 3] =
    [("front", "front-end, XDP"), ("back", "server, TC ingress"), ("back_out", "server, TC egress")];

const TRAFFIC: [(&str, bool); 2] = [("kept connections", false), ("a connection a request", true)];

/// Of one round, one kind of traffic and one program.
#[derive(Clone, Copy, Default)]
struct Sample {
    runs_a_request: f64,
    ns_a_run: f64,
}

fn main() -> Result<()> {
    if tests::skipped("programs") {
        return Ok(());
    }
    let accounting = Accounting::start()?;
    let mut rig = Rig::builder("bench-programs").straight().start()?;
    rig.start_dispatcher(&FrontOptions::default())?;
    let programs = accounting.programs()?;
    let mut samples = vec![Vec::new(); TRAFFIC.len() * PROGRAMS.len()];
    for _ in 0..ROUNDS {
        let round = TRAFFIC.into_iter().map(|(_, close)| measure(&rig, &programs, close));
        let round = round.collect::<Result<Vec<_>>>()?.concat();
        samples.iter_mut().zip(round).for_each(|(samples, sample)| samples.push(sample));
    }
    section(&samples).publish()
}

/// By program.
fn measure(rig: &Rig, programs: &Programs, close: bool) -> Result<Vec<Sample>> {
    let accounts = || PROGRAMS.iter().map(|(name, _)| programs.account(name)).collect::<Result<Vec<_>>>();
    let before = accounts()?;
    let url = rig.plan().url("vip", Family::V4, 80) + "/tiny";
    let requests = Wrk { connections: 32, time: TIME, close }.run(rig.host("client")?, &url)?.requests;
    let spent = accounts()?.into_iter().zip(before).map(|(after, before)| after.since(before));
    let sample = |spent: Account| Sample {
        runs_a_request: spent.runs as f64 / requests as f64,
        ns_a_run: spent.mean_ns(),
    };
    Ok(spent.map(sample).collect())
}

/// Samples by traffic, then by program.
fn section(samples: &[Vec<Sample>]) -> Section {
    let mut section = Section::new("programs", "Programs in live traffic");
    section.text(
        "The kernel's own account of each program while wrk asks three servers by way of the dispatcher for tiny responses: mean of a \
         run, its two looks at the clock included. Caches are as cold as clients, servers and wires on the same two CPUs leave them. With a connection for \
         each request about one ingress run in six is a hand-off; the others are ACKs and FINs.",
    );
    section.text(format!("Medians of {ROUNDS} rounds, in brackets the least and the most."));
    let columns = [
        Column::text("program"),
        Column::text("traffic"),
        Column::number("runs a request", "", 2),
        Column::number("a run", "ns", 0),
    ];
    let mut table = Table::new("runs", columns);
    let kinds = TRAFFIC.into_iter().flat_map(|(traffic, _)| PROGRAMS.map(|(_, role)| (role, traffic)));
    for ((role, traffic), samples) in kinds.zip(samples) {
        let spread = |value: fn(&Sample) -> f64| Spread::of(&samples.iter().map(value).collect::<Vec<_>>());
        table.row([
            role.into(),
            traffic.into(),
            spread(|sample| sample.runs_a_request).into(),
            spread(|sample| sample.ns_a_run).into(),
        ]);
    }
    section.table(table);
    section
}

//! What the programs cost where they run: mean time a run of each, as the kernel accounts it (`run_time_ns / run_cnt`), while wrk
//! drives the rig. Two services differ in whether each request is dispatched, so that what following a connection costs each
//! program is the difference of two lines.

mod account;

use std::time::Duration;

use anyhow::Result;
use tests::{
    BackOptions, Family, FrontOptions, MORE_PORTS, Plan, Rig, Wrk,
    report::{Column, Section, Spread, Table},
};

use self::account::{Account, Accounting, Programs};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

/// Programs and the role that runs them.
const PROGRAMS: [(&str, &str); 3] =
    [("front", "front-end, XDP"), ("back", "server, TC ingress"), ("back_out", "server, TC egress")];

/// Servers report ten times a second.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Port of the service that dispatches by connection.
const BY_CONNECTION: u16 = MORE_PORTS[0];

/// What wrk does.
#[derive(Clone, Copy)]
struct Traffic {
    name: &'static str,
    port: u16,
    close: bool,
}

const TRAFFIC: [Traffic; 3] = [
    Traffic { name: "kept connections", port: 80, close: false },
    Traffic { name: "kept connections, `per_request = false`", port: BY_CONNECTION, close: false },
    Traffic { name: "a connection a request", port: 80, close: true },
];

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
    let rig = start()?;
    let programs = accounting.programs()?;
    let mut samples = vec![Vec::new(); TRAFFIC.len() * PROGRAMS.len()];
    for _ in 0..ROUNDS {
        let round = TRAFFIC.into_iter().map(|traffic| measure(&rig, &programs, traffic));
        let round = round.collect::<Result<Vec<_>>>()?.concat();
        samples.iter_mut().zip(round).for_each(|(samples, sample)| samples.push(sample));
    }
    section(&samples).publish()
}

/// With both services. All ask for the same, so with `hash` all of a service's requests are one server's, and none moves.
fn start() -> Result<Rig> {
    let mut rig = Rig::builder("bench-programs").straight().start()?;
    let plan: &Plan = rig.plan();
    let service =
        format!("\n[[service]]\nvip = [\"{}\"]\nport = {BY_CONNECTION}\n", plan.address("vip", Family::V4));
    let more = format!("{service}name = \"by-connection\"\npolicy = \"hash\"\nper_request = false\n");
    let front = FrontOptions { policy: "hash".to_owned(), more, ..FrontOptions::default() };
    let options = BackOptions::default().alter(move |text| text.push_str(&service));
    for server in rig.plan().server_names() {
        rig.start_back_with(&server, &options)?;
    }
    rig.start_front(&front)?;
    rig.wait_until_servers_up(START_LIMIT)?;
    Ok(rig)
}

/// By program.
fn measure(rig: &Rig, programs: &Programs, traffic: Traffic) -> Result<Vec<Sample>> {
    let accounts = || PROGRAMS.iter().map(|(name, _)| programs.account(name)).collect::<Result<Vec<_>>>();
    let before = accounts()?;
    let url = rig.plan().url("vip", Family::V4, traffic.port) + "/tiny";
    let requests =
        Wrk { connections: 32, time: TIME, close: traffic.close }.run(rig.host("client")?, &url)?.requests;
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
        "The kernel's own account of each program while wrk asks three servers by way of the dispatcher for tiny responses, with policy `hash`, so \
         that all requests are of one server and none moves: mean of a run, its two looks at the clock included. Caches are as cold as clients, servers and wires on the same two CPUs leave them. With a connection for \
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
    let kinds = TRAFFIC.into_iter().flat_map(|traffic| PROGRAMS.map(|(_, role)| (role, traffic.name)));
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

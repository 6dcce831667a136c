//! What a SYN of a flood costs program `front`, with 100 000 rules and without any: the kernel's own account (`run_time_ns / run_cnt`),
//! live frames, the whole rig on one CPU, cases in turn. Net of what the account says of the switch's program of two
//! instructions, which every answer comes to in the same flood.
//!
//! The service is full all the time and refuses low priorities, so every SYN's source is looked up if there are rules.

mod account;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tests::{
    Family, FrontOptions, Rig, Spoofed,
    report::{Column, Section, Spread, Table},
};

use self::account::{Accounting, Programs};

const RULES: u32 = 100_000;
/// Every case is measured so often, in turn; the median counts.
const ROUNDS: usize = 5;
/// Of one measurement.
const SYNS: u32 = 300_000;

const FULL: &str = "
[service.admission]
connection_limit = 1
evictions_per_second = 0
load_bound = \"none\"
refusals = { 0 = \"drop\", 1 = \"reset\" }
";

struct Case {
    name: &'static str,
    spoofed: Spoofed,
    rules: String,
    /// What becomes of the SYNs.
    counters: &'static [&'static str],
}

fn cases() -> [Case; 5] {
    use Spoofed::{Anywhere, Near};
    let answered: &[&str] = &["syn_answered"];
    let refused: &[&str] = &["syn_refused_dropped", "syn_refused_reset", "syn_answered"];
    let case = |name, spoofed, rules, counters| Case { name, spoofed, rules, counters };
    [
        case("sources of a /16, no rules, answered", Near, String::new(), answered),
        case("sources of a /16, 60 000 of them with rules, answered", Near, near(|_| 2), answered),
        case("the same, a third each ignored, reset, answered", Near, near(|host| host % 3), refused),
        case("sources anywhere, no rules, answered", Anywhere, String::new(), answered),
        case("sources anywhere, rules anywhere, answered", Anywhere, anywhere(), answered),
    ]
}

fn main() -> Result<()> {
    if tests::skipped("syn_flood") {
        return Ok(());
    }
    let accounting = Accounting::start()?;
    let mut rig = Rig::builder("bench-syn-flood").start()?;
    rig.start_dispatcher(&FrontOptions { more: FULL.to_owned(), ..FrontOptions::default() })?;
    let programs = accounting.programs()?;
    let _kept = keep_connection(&rig)?;
    let _one_cpu = rig.on_one_cpu()?;
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut floors = Vec::new();
    for _ in 0..ROUNDS {
        for (case, times) in cases().iter().zip(&mut times) {
            let floor = programs.account("rig_pass")?;
            times.push(measure(&rig, case, &programs)?);
            let floor = programs.account("rig_pass")?.since(floor);
            floors.extend((floor.runs > 0).then(|| floor.mean_ns()));
        }
    }
    section(&times, &floors).publish()
}

/// How much more a SYN may cost with rules.
const MOST: f64 = 1.5;

fn section(times: &[Vec<f64>; 5], floors: &[f64]) -> Section {
    let floor = Spread::of(floors).median;
    let net = |times: &[f64]| Spread::of(&times.iter().map(|time| time - floor).collect::<Vec<_>>());
    let [none, near, mixed, none_anywhere, anywhere] = times.each_ref().map(|times| net(times));
    let mut section = Section::new("syn_flood", "A SYN of a flood");
    section.text(format!(
        "The kernel's own account of program `front` in a flood of live frames, the whole rig on one CPU, with {RULES} rules and without any, in turn. The \
         service is full and refuses low priorities, so every source is looked up. Net of {floor:.0} ns that the account says of a program \
         of two instructions. Medians of {ROUNDS} rounds, in brackets the least and the most."
    ));
    section.text(
        "Whoever is refused costs less than an answer. What bounds the others: a source whose rules may lie anywhere tries five levels of prefixes, which \
         reads 6.7 words in 256 KiB of marks and 0.8 lines of the table of 8 MiB, counted in a simulation of the same rules. Reading fewer of them \
         was tried and took no less time (see *What a SYN costs* in [admission.md](admission.md)).",
    );
    let columns = [
        Column::text("SYNs"),
        Column::number("a run", "ns", 0),
        Column::number("times one without rules", "", 2),
    ];
    let mut table = Table::new("runs", columns);
    let costs = [
        (none, none),
        (near, none),
        (mixed, none),
        (none_anywhere, none_anywhere),
        (anywhere, none_anywhere),
    ];
    for (case, (cost, without)) in cases().iter().zip(costs) {
        table.row([case.name.into(), cost.into(), (cost.median / without.median).into()]);
    }
    section.table(table);
    let ratios = costs.map(|(cost, without)| cost.median / without.median);
    let most = ratios.into_iter().fold(0.0, f64::max);
    section.goal(
        &format!("a SYN with {RULES} rules costs at most {MOST} times one without"),
        format!("{most:.2}"),
        most <= MOST,
    );
    section
}

/// Mean time in nanoseconds of a run of `front` in one flood.
fn measure(rig: &Rig, case: &Case, programs: &Programs) -> Result<f64> {
    let file = rig.plan().run_dir().join("front/flood.members");
    fs::write(&file, &case.rules)?;
    let loaded = rig.ask("front", &["members", "load", &file.display().to_string()])?;
    ensure!(loaded.status.success(), "no rules: {}", String::from_utf8_lossy(&loaded.stderr));
    let counted = || case.counters.iter().map(|name| rig.counter("front", name)).sum::<Result<u64>>();
    let before = (counted()?, programs.account("front")?);
    rig.flood_with_syns(SYNS, 80, case.spoofed)?;
    let time = programs.account("front")?.since(before.1).mean_ns();
    let counted = counted()? - before.0;
    ensure!(counted > u64::from(SYNS) / 100 * 95, "{}: only {counted} of {SYNS} SYNs were", case.name);
    Ok(time)
}

/// A connection that fills the service as long as it is there.
fn keep_connection(rig: &Rig) -> Result<TcpStream> {
    let vip = SocketAddr::new(rig.plan().address("vip", Family::V4), 80);
    rig.host("client")?.enter(|| {
        let mut stream = TcpStream::connect(vip)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /tiny HTTP/1.1\r\nHost: rig\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        ensure!(&start == b"HTTP/1.1 200", "the service does not answer: {start:?}");
        Ok(stream)
    })?
}

/// Rules of which most are for the flood's sources.
fn near(priority: impl Fn(u32) -> u32) -> String {
    (0..RULES).fold(String::new(), |mut text, number| {
        let first = if number < 60_000 { 0xc613_0000 } else { 0x0a00_0000 };
        let _ = writeln!(text, "{}/32 * - {}", Ipv4Addr::from(first + number), priority(number));
        text
    })
}

/// Rules for prefixes of all lengths anywhere, a third of IPv6, one in ten with a port.
fn anywhere() -> String {
    let mut rng = Pcg64Mcg::seed_from_u64(42);
    let mut rules = BTreeSet::new();
    while rules.len() < RULES as usize {
        let prefix = if rules.len() % 3 == 0 {
            let bits = rng.random_range(48..=64_u32);
            let address = rng.random_range(0x2_u128 << 124..0x4 << 124) & u128::MAX << (128 - bits);
            format!("{}/{bits}", Ipv6Addr::from(address))
        } else {
            let bits = rng.random_range(16..=32_u32);
            let address = rng.random_range(0x0100_0000..0xe000_0000_u32) & u32::MAX << (32 - bits);
            format!("{}/{bits}", Ipv4Addr::from(address))
        };
        let port =
            if rules.len() % 10 == 9 { rng.random_range(1024..=65_535).to_string() } else { "*".to_owned() };
        rules.insert(format!("{prefix} {port} - 2\n"));
    }
    rules.into_iter().collect()
}

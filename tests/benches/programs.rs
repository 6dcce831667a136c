//! What the programs cost where they run: mean time a run of each, as the kernel accounts it (`run_time_ns / run_cnt`), while wrk
//! drives the rig. On a connection a request, about one ingress run in six is a hand-off: the rest are ACKs and FINs.

use std::{collections::HashSet, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use tests::{Family, FrontOptions, Rig};

const SECONDS: u32 = 5;

/// Programs and the role that runs them.
const PROGRAMS: [(&str, &str); 3] =
    [("front", "front-end, XDP"), ("back", "server, TC ingress"), ("back_out", "server, TC egress")];

/// Accumulated by all of the rig's programs of one name.
#[derive(Clone, Copy, Default)]
struct Spent {
    time: Duration,
    runs: u64,
}

fn main() -> Result<()> {
    if tests::skipped("programs") {
        return Ok(());
    }
    let _accounting = enable_stats(Stats::RunTime).context("the kernel does not account programs")?;
    let others = loaded_programs().map(|program| Ok(program?.id())).collect::<Result<HashSet<_>>>()?;
    let mut rig = Rig::builder("bench-programs").start()?;
    rig.start_dispatcher(&FrontOptions::default())?;
    println!("| program | traffic | runs a request | ns a run |");
    println!("| --- | --- | --- | --- |");
    for (traffic, close) in [("kept connections", false), ("a connection a request", true)] {
        let before = PROGRAMS.iter().map(|(name, _)| spent(name, &others)).collect::<Result<Vec<_>>>()?;
        let requests = wrk(&rig, close)?;
        for ((name, role), before) in PROGRAMS.iter().zip(before) {
            let after = spent(name, &others)?;
            let (time, runs) = (after.time - before.time, after.runs - before.runs);
            println!(
                "| {role} | {traffic} | {:.1} | {:.0} |",
                runs as f64 / requests as f64,
                time.as_nanos() as f64 / runs.max(1) as f64
            );
        }
    }
    let hand_offs: u64 = rig
        .plan()
        .server_names()
        .iter()
        .map(|server| rig.counter(server, "handoff_accepted"))
        .sum::<Result<_>>()?;
    println!("\n{hand_offs} hand-offs in all");
    Ok(())
}

fn spent(name: &str, others: &HashSet<u32>) -> Result<Spent> {
    let mut spent = Spent::default();
    for program in loaded_programs() {
        let program = program?;
        if program.name_as_str() == Some(name) && !others.contains(&program.id()) {
            spent.time += program.run_time();
            spent.runs += program.run_count();
        }
    }
    Ok(spent)
}

/// Requests that wrk completed.
fn wrk(rig: &Rig, close: bool) -> Result<u64> {
    let mut wrk = rig.host("client")?.command("wrk");
    wrk.args(["-t1", "-c32", &format!("-d{SECONDS}")]).stdin(Stdio::null());
    if close {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg(rig.plan().url("vip", Family::V4, 80) + "/tiny").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !text.contains("Socket errors"), "wrk failed: {text}");
    let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk printed no total")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

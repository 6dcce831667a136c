//! Requests per second and CPU time in the rig: direct to one nginx, through the dispatcher, through HAProxy.
//!
//! All three run alternately in one run, so that noise of the machine meets all alike; the figures are medians of the rounds.
//! HAProxy and the direct connection have a rig of their own with all offloads on. Ours has them on the servers, whose
//! responses cross no XDP redirect, and off on the client, whose packets do.

use std::{fs, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use tests::{Family, FrontOptions, Rig};

const ROUNDS: usize = 5;
const SECONDS: u32 = 2;

struct Case {
    name: &'static str,
    path: &'static str,
    connections: u32,
    close: bool,
}

const CASES: [Case; 4] = [
    Case { name: "keep-alive, tiny", path: "tiny", connections: 16, close: false },
    Case { name: "connection per request", path: "tiny", connections: 32, close: true },
    Case { name: "64 KB", path: "bytes/64k", connections: 16, close: false },
    Case { name: "1 MB", path: "bytes/1m", connections: 16, close: false },
];

const SUBJECTS: [&str; 3] = ["direct", "dispatcher", "HAProxy"];

#[derive(Clone, Copy, Default)]
struct Sample {
    rate: f64,
    cpu_us: f64,
}

fn main() -> Result<()> {
    if tests::skipped("responses") {
        return Ok(());
    }
    let mut ours = Rig::builder("bench-ours").start()?;
    ours.start_dispatcher(&FrontOptions::default())?;
    let mut proxy = Rig::builder("bench-proxy").full_offloads(true).start()?;
    proxy.start_haproxy()?;
    println!(
        "| wrk in the rig, medians of {ROUNDS} | direct, one nginx | dispatcher, 3 nginx | HAProxy, 3 nginx, 1 thread \
         | dispatcher / HAProxy | dispatcher / direct |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for case in &CASES {
        let samples = alternate(case, &ours, &proxy)?;
        let [direct, dispatcher, haproxy] = samples.map(median);
        let cell = |sample: Sample| format!("{:.0} req/s, {:.0} µs CPU", sample.rate, sample.cpu_us);
        println!(
            "| {} | {} | {} | {} | {:.2} | {:.2} |",
            case.name,
            cell(direct),
            cell(dispatcher),
            cell(haproxy),
            dispatcher.rate / haproxy.rate,
            dispatcher.rate / direct.rate,
        );
    }
    Ok(())
}

fn alternate(case: &Case, ours: &Rig, proxy: &Rig) -> Result<[Vec<Sample>; 3]> {
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (subject, samples) in SUBJECTS.iter().zip(&mut samples) {
            let (rig, url) = match *subject {
                "direct" => (proxy, proxy.plan().url("server1", Family::V4, 80)),
                "dispatcher" => (ours, ours.plan().url("vip", Family::V4, 80)),
                _ => (proxy, proxy.plan().url("front", Family::V4, 8080)),
            };
            let sample = measure(rig, case, &url).with_context(|| format!("{subject}, {}", case.name))?;
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// One run of wrk, and what all of the machine's CPUs did meanwhile.
fn measure(rig: &Rig, case: &Case, base: &str) -> Result<Sample> {
    let mut wrk = rig.host("client")?.command("wrk");
    wrk.args(["-t1", &format!("-c{}", case.connections), &format!("-d{SECONDS}")]).stdin(Stdio::null());
    if case.close {
        wrk.args(["-H", "Connection: close"]);
    }
    let before = busy_ticks()?;
    let output = wrk.arg(format!("{}/{}", base.trim_end_matches('/'), case.path)).output()?;
    let ticks = busy_ticks()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx")) {
        bail!("wrk saw errors: {}", line.trim());
    }
    let rate = number(&text, "Requests/sec:")?;
    // SAFETY: no memory is involved.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(Sample { rate, cpu_us: ticks as f64 / per_second * 1e6 / (rate * f64::from(SECONDS)) })
}

fn number(text: &str, label: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
    Ok(line.with_context(|| format!("wrk printed no {label}"))?.trim().parse()?)
}

/// Time that all CPUs together were not idle.
fn busy_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    Ok([0, 1, 2, 5, 6].iter().filter_map(|&i| fields.get(i)).sum())
}

fn median(mut samples: Vec<Sample>) -> Sample {
    let middle = samples.len() / 2;
    samples.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let rate = samples[middle].rate;
    samples.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    Sample { rate, cpu_us: samples[middle].cpu_us }
}

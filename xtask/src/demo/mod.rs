//! `cargo xtask demo`: three servers, twenty seconds of real requests of several classes, each answer checked,
//! and what the dispatcher made of them. In the middle one server turns slow, so that its classes move.

mod client;
mod tables;
mod traffic;

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ::tests::{Family, FrontOptions, Rig};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use traffic::{Tally, Traffic};

use crate::{interrupt, setup, workspace};

const INSTANCE: &str = "demo";
const DURATION: Duration = Duration::from_secs(20);
const SLOW_FROM: Duration = Duration::from_secs(7);
const SLOW_UNTIL: Duration = Duration::from_secs(13);
/// Of each request on the slow server, one after the other.
const SLOW_DELAY: Duration = Duration::from_millis(15);
/// Load (sum of expected service times) above which a class leaves its server. The default of 48 mean service
/// times is for real load; the demo's few connections would never reach it.
const LOAD_THRESHOLD: &str = "40ms";

const RULES: &str = r#"
[[service.class]]
name = "images"
path_prefix = "/images/"

[[service.class]]
name = "cgi"
path_prefix = "/cgi/"

[[service.class]]
name = "downloads"
path_prefix = "/bytes/"
"#;

pub(crate) fn run(ipv6: bool) -> Result<ExitCode> {
    workspace::need_root("the demo")?;
    setup::ensure()?;
    let dispatcher = workspace::build_dispatcher()?;
    interrupt::catch()?;
    eprintln!("demo: starting a client, a switch, a front-end and three servers");
    let mut rig = Rig::builder(INSTANCE).servers(3).slowable(true).dispatcher(dispatcher).start()?;
    let options = FrontOptions {
        load_threshold: LOAD_THRESHOLD.to_owned(),
        more: RULES.to_owned(),
        ..FrontOptions::default()
    };
    rig.start_dispatcher(&options)?;
    let families: &[Family] = if ipv6 { &[Family::V6] } else { &[Family::V4, Family::V6] };
    let traffic = Traffic::new(rig.plan(), families);
    let stop = AtomicBool::new(false);
    let client = rig.host("client")?.clone();
    let steered = thread::scope(|scope| {
        let running = scope.spawn(|| client.enter(|| traffic.run(&stop)));
        let steered = steer(&mut rig, &traffic);
        stop.store(true, Ordering::Relaxed);
        let ran = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ran.and(steered)
    });
    let slow = steered?;
    if interrupt::came() {
        drop(rig);
        eprintln!("demo: interrupted; everything is removed");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let tally = traffic.tally();
    tables::print(&rig, &tally, &slow)
        .context("the requests are done, but a role does not say what it saw")?;
    drop(rig);
    Ok(verdict(&tally))
}

/// Slows a server down and up again while the traffic runs; gives its name.
fn steer(rig: &mut Rig, traffic: &Traffic) -> Result<String> {
    let start = Instant::now();
    let bar = progress();
    let mut slow = None;
    let mut quick_again = false;
    let mut last_line = Duration::ZERO;
    while start.elapsed() < DURATION && !interrupt::came() {
        thread::sleep(Duration::from_millis(100));
        let now = start.elapsed();
        if now >= SLOW_FROM && slow.is_none() {
            let server = server_of_images(&rig.show("front", "bind-table")?);
            rig.set_slow(&server, SLOW_DELAY)?;
            slow = Some(server);
        }
        if let (true, false, Some(server)) = (now >= SLOW_UNTIL, quick_again, &slow) {
            rig.set_slow(server, Duration::ZERO)?;
            quick_again = true;
        }
        let state = match &slow {
            Some(server) if !quick_again => format!(", {server} is slow"),
            _ => String::new(),
        };
        let tally = traffic.tally();
        let line = format!("{} requests, {} wrong{state}", tally.requests, tally.wrong);
        bar.set_position(now.as_millis() as u64);
        if bar.is_hidden() && now - last_line >= Duration::from_secs(5) {
            eprintln!("demo: {:.0} s: {line}", now.as_secs_f64());
            last_line = now;
        }
        bar.set_message(line);
    }
    bar.finish_and_clear();
    Ok(slow.unwrap_or_default())
}

fn server_of_images(bind_table: &[Value]) -> String {
    let row = bind_table.iter().find(|row| row["class_name"] == "images");
    row.and_then(|row| row["server"].as_str()).unwrap_or("server1").to_owned()
}

fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(DURATION.as_millis() as u64);
    if let Ok(style) = ProgressStyle::with_template("demo [{bar:30}] {msg}") {
        bar.set_style(style);
    }
    bar
}

fn verdict(tally: &Tally) -> ExitCode {
    for failure in &tally.failures {
        println!("wrong: {failure}");
    }
    let right = tally.requests - tally.wrong;
    println!("{right} of {} responses were right (status, server name and body)", tally.requests);
    if tally.wrong == 0 && tally.requests > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

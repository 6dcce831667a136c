//! Three levels of clients at half to three times of what three servers can do: with the dispatcher's admission, without, and
//! with HAProxy's queues and priority classes. Owns the order of things: capacity first, then every load by every contender,
//! then files and the table of what must hold. `cargo xtask bench --overload` runs it.

mod contender;
mod file;
mod finding;
mod point;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use tests::load::{self, Load};

use self::{
    contender::{Contender, Stage},
    point::{Mix, Point},
};

/// Multiples of the capacity.
const LOADS: [f64; 6] = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0];

/// Clients that ask each server at once while its capacity is measured: enough to keep it busy, too few to queue up.
const CLIENTS: u16 = 4;
const CAPACITY_TIME: Duration = Duration::from_secs(3);

const WARM_UP: Duration = Duration::from_millis(1500);
const DURATION: Duration = Duration::from_secs(6);

/// At the load that others are compared with: of 6 s, the p99 of a level would be that of 190 requests, and half as much again in one
/// run as in the next.
const REFERENCE_DURATION: Duration = Duration::from_secs(24);

/// People wait longer, programs often less.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<ExitCode> {
    if tests::skipped("overload") {
        return Ok(ExitCode::SUCCESS);
    }
    let stage = Stage::set()?;
    let capacity = stage.capacity(CLIENTS, CAPACITY_TIME)?;
    println!("capacity: {capacity:.0} requests/s, measured at the servers themselves\n");
    let mut points = Vec::new();
    println!("{}", Point::HEADER);
    for mix in Mix::chosen() {
        for multiple in loads() {
            for contender in Contender::chosen() {
                let point = measure(&stage, contender, mix, multiple, capacity)?;
                println!("{}", point.row());
                points.push(point);
            }
        }
    }
    file::write(&output(), &points, capacity)?;
    let findings = finding::of(&points);
    println!("\n{}", finding::table(&findings));
    Ok(if findings.iter().all(|finding| finding.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(stage: &Stage, contender: Contender, mix: Mix, multiple: f64, capacity: f64) -> Result<Point> {
    let load = Load {
        rate: multiple * capacity,
        requests_per_session: mix.requests_per_session(),
        warm_up: WARM_UP,
        duration: if multiple > LOADS[0] { DURATION } else { REFERENCE_DURATION },
        patience: PATIENCE,
        // All contenders get the same requests at the same times.
        seed: (multiple * 100.0) as u64,
    };
    let before = stage.events(contender)?;
    let records = load::drive(stage.client(contender)?, stage.target(contender), &load)?;
    let events = stage.events(contender)?.since(before);
    Ok(Point { contender, mix, multiple, load, records, events })
}

/// DISPATCHER_LOADS takes a few of the loads, for a quick look.
fn loads() -> Vec<f64> {
    let chosen = std::env::var("DISPATCHER_LOADS").ok();
    let chosen = chosen.map(|text| text.split(',').filter_map(|load| load.parse().ok()).collect());
    chosen.unwrap_or_else(|| LOADS.to_vec())
}

/// Where files go: not among the documents unless asked for.
fn output() -> PathBuf {
    std::env::var_os("DISPATCHER_FIGURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/overload"), PathBuf::from)
}

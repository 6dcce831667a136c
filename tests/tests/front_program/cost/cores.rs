//! The same packets on one CPU and on both at once, each CPU with flows of its own: whatever CPUs shared would cost more then.

use std::{sync::Barrier, thread};

use aya::util::online_cpus;
use dispatcher_common::counter::FrontCounter;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tests::report::{Cell, Column, Section, Spread, Table};

use super::{
    Effort,
    bare::{Bare, Before, Measured},
    flows::Flows,
};
use crate::program::Program;

const PACKETS: u32 = 1_000_000;
/// Bits of flows of a CPU where there are many: few enough for its own caches.
const BITS: u32 = 11;

/// What comes by.
struct Traffic {
    name: &'static str,
    before: Before,
    bits: u32,
}

const TRAFFIC: [Traffic; 3] = [
    Traffic { name: "acknowledgements of one flow", before: Before::NextFlow, bits: 0 },
    Traffic { name: "acknowledgements of 2048 flows", before: Before::NextFlow, bits: BITS },
    Traffic { name: "requests on a kept connection", before: Before::NextRequest, bits: 0 },
];

/// Adds a table. False if it could not be measured.
pub(crate) fn report(section: &mut Section, effort: Effort) -> bool {
    let cpus = online_cpus().unwrap();
    let [first, second, ..] = cpus[..] else {
        section.text("**Many cores**: not measured, this machine has one CPU.");
        return true;
    };
    section.text(format!(
        "**Many cores**: the same packets on one CPU and on two at once, as two RX queues would bring them: each CPU has flows of \
         its own, all of one service and one server, whose filters lie side by side in the table. This machine has {} CPUs.",
        cpus.len()
    ));
    let mut table = Table::new(
        "cores",
        [
            Column::text("traffic"),
            Column::number("one CPU", "ns", 0),
            Column::number("each of two", "ns", 0),
            Column::number("ratio", "", 2),
        ],
    );
    for traffic in &TRAFFIC {
        let Some((alone, together)) = measure(traffic, [first, second], effort) else { return false };
        let each: Vec<f64> = together.iter().zip(&alone).map(|(two, one)| two / one).collect();
        table.row([
            Cell::from(traffic.name),
            Spread::quartiles(&alone).into(),
            Spread::quartiles(&together).into(),
            Spread::quartiles(&each).into(),
        ]);
    }
    section.table(table);
    true
}

/// Nanoseconds a packet, net, by rounds: on one CPU and on each of two.
fn measure(traffic: &Traffic, cpus: [u32; 2], effort: Effort) -> Option<(Vec<f64>, Vec<f64>)> {
    let flows = [Flows::new([10, 0, 0, 0], traffic.bits), Flows::new([11, 0, 0, 0], traffic.bits)];
    let mut program = Program::with_room(2 * flows[0].count())?;
    Flows::insert_side_by_side(&flows, &mut program);
    let [mut first, mut second] = [
        Bare::load(traffic.before, &frame(traffic, &flows[0]), &flows[0])?,
        Bare::load(traffic.before, &frame(traffic, &flows[1]), &flows[1])?,
    ];
    let [front, pass] = ["front", "pass"].map(|name| program.fd(name).try_clone().unwrap());
    let packets = effort.part(PACKETS);
    let before = program.counters();
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let [floor, cost] = [&pass, &front].map(|fd| {
            let measured = [first.measure(fd), second.measure(fd)];
            (run(&measured[..1], &cpus, packets), run(&measured, &cpus, packets))
        });
        alone.push(cost.0 - floor.0);
        together.push(cost.1 - floor.1);
    }
    super::assert_counted(
        &program,
        &before,
        FrontCounter::Forwarded,
        3 * effort.rounds as u64 * u64::from(packets),
    );
    Some((alone, together))
}

fn frame(traffic: &Traffic, flows: &Flows) -> Vec<u8> {
    match traffic.before {
        Before::NextRequest => flows.acknowledgement().with_payload(b"data").frame(),
        _ => flows.acknowledgement().frame(),
    }
}

/// Mean nanoseconds of a run, each on a CPU of its own and all at the same time.
fn run(measured: &[Measured<'_>], cpus: &[u32], packets: u32) -> f64 {
    let start = Barrier::new(measured.len());
    let times: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = measured
            .iter()
            .zip(cpus)
            .map(|(measured, cpu)| {
                scope.spawn(|| {
                    pin(*cpu);
                    start.wait();
                    measured.mean_ns(packets)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

fn pin(cpu: u32) {
    let mut one = CpuSet::new();
    one.set(cpu as usize).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

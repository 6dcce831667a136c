//! What a packet costs, net of an empty program. Printed as a table, not asserted: `cargo xtask bench` shows it on a machine that
//! does nothing else.

use dispatcher_common::counter::FrontCounter;

use crate::{
    program::{Program, flow_key},
    segment::{ACK, Family, SYN, Segment},
    table::{ISN, established, good_ack},
};

/// Runs of a program on one packet by one system call, in which caches stay warm. The kernel does not restore the packet
/// between them, so only for packets that are the same afterwards.
const REPEATED: u32 = 100_000;

/// Median over some such calls, in nanoseconds a run. One that repeats takes the kernel some 20 ms to prepare.
fn median_ns(program: &mut Program, name: &str, frame: &[u8], repeat: u32) -> u128 {
    let rounds = if repeat == 1 { 5_001 } else { 11 };
    let mut times: Vec<u128> = (0..rounds).map(|_| program.time(name, frame, repeat).as_nanos()).collect();
    times.sort_unstable();
    times[rounds / 2]
}

fn print_cost(program: &mut Program, case: &str, frame: &[u8], repeat: u32) {
    let floor = median_ns(program, "pass", frame, repeat);
    let cost = median_ns(program, "front", frame, repeat).saturating_sub(floor);
    let how = if repeat == 1 { "once" } else { "repeated" };
    println!("| {case} | {how} | {cost} | {floor} |");
}

#[test]
fn cost_of_a_packet() {
    let Some(mut program) = Program::load() else { return };
    println!("\n| packet | run | ns, net | ns of an empty program |");
    println!("| --- | --- | --- | --- |");
    for family in Family::BOTH {
        program.filters().insert(flow_key(family), established(family), 0).unwrap();
        let syn = Segment::of_client(family, SYN, ISN, 0)
            .with_options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9]);
        let ack = good_ack(family).wrapping_add(9);
        let known = Segment::of_client(family, ACK, ISN.wrapping_add(500), ack).with_timestamps();
        let mut other = known.clone();
        other.destination_port += 1;
        for (case, segment, repeat) in [
            ("a packet for nobody", &other, REPEATED),
            ("a known flow", &known, REPEATED),
            ("a known flow", &known, 1),
            ("SYN to SYN-ACK", &syn, 1),
        ] {
            print_cost(&mut program, &format!("{case}, {family:?}"), &segment.frame(), repeat);
        }
    }
    assert!(program.counters()[FrontCounter::Forwarded.index() as usize] >= u64::from(REPEATED));
}

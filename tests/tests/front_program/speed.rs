//! What a packet costs, net of an empty program. Printed, not asserted: other tests run at the same time. `cargo xtask bench`
//! holds the targets.

use dispatcher_common::counter::FrontCounter;

use crate::{
    program::{Program, flow_key},
    segment::{ACK, Family, SYN, Segment},
    table::{ISN, established, good_ack},
};

const ROUNDS: usize = 20_000;

/// Median of single runs: the kernel does not restore a packet between repeated ones.
fn median_ns(program: &mut Program, name: &str, frame: &[u8]) -> u128 {
    let mut times: Vec<u128> = (0..ROUNDS).map(|_| program.run(name, frame).duration.as_nanos()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

#[test]
fn cost_of_a_packet() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        program.filters().insert(flow_key(family), established(family), 0).unwrap();
        let syn = Segment::of_client(family, SYN, ISN, 0)
            .with_options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9])
            .frame();
        let mut known =
            Segment::of_client(family, ACK, ISN.wrapping_add(500), good_ack(family).wrapping_add(9));
        known = known.with_timestamps();
        let known = known.frame();
        let floor = median_ns(&mut program, "pass", &known);
        for (name, frame) in [("known flow", &known), ("SYN to SYN-ACK", &syn)] {
            let cost = median_ns(&mut program, "front", frame).saturating_sub(floor);
            eprintln!("{family:?} {name}: {cost} ns above {floor} ns");
        }
    }
    assert!(program.counters()[FrontCounter::Forwarded.index() as usize] >= ROUNDS as u64);
}

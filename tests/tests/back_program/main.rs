//! Ring c: a server's TC programs against the running kernel's TCP. Frames go in by a veth, real sockets listen, and the
//! counters say what became of a segment. Network namespaces, so root and `DISPATCHER_RIG`.
//!
//! One file for each part of the programs' table holds scenarios; every one runs for IPv4 and IPv6.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod answer;
mod connection;
mod cost;
mod dropped;
mod followed;
mod frame;
mod hand_off;
mod kept;
mod lab;
mod measured;
mod moved;
mod negotiated;
mod passed;
mod path;
mod raw;
mod retired;
mod retiring;
mod returned;
mod scenario;
mod tcp_info;

use dispatcher_common::counter::BackCounter;

#[test]
fn every_counter_is_reached_by_a_scenario() {
    let tables = [
        dropped::SCENARIOS,
        followed::SCENARIOS,
        hand_off::SCENARIOS,
        kept::SCENARIOS,
        measured::SCENARIOS,
        moved::SCENARIOS,
        negotiated::SCENARIOS,
        passed::SCENARIOS,
        path::SCENARIOS,
        retired::SCENARIOS,
        retiring::SCENARIOS,
        returned::SCENARIOS,
    ];
    for counter in BackCounter::ALL {
        let is_reached = tables.iter().copied().flatten().any(|scenario| scenario.counters.contains(counter));
        assert!(is_reached, "no scenario reaches {}", counter.name());
    }
}

//! Tests of admission: each rule by itself, Tables 2 to 4 of the paper, and a simulated service at the edge of its limit.

mod eviction;
mod overload;
mod paper;
mod simulation;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use dispatcher_common::filter::{Filter, FlowKey, state};

use super::*;
use crate::{address, ids::Priority};

const SECOND_NS: u64 = 1_000_000_000;

fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

fn key(client: SocketAddr) -> FlowKey {
    FlowKey::new(address::in_packet(address::bits(client.ip())), client.port().to_be(), 0)
}

/// The key of some client.
fn numbered(number: u32) -> FlowKey {
    key(SocketAddr::from(([198, 18, (number >> 8) as u8, number as u8], 1000)))
}

/// A flow that was admitted and began its request at `created_ns` and has no response yet.
fn waiting(level: u8, created_ns: u64) -> Filter {
    Filter {
        created_ns,
        last_seen_ns: created_ns,
        request_ns: created_ns,
        state: state::ESTABLISHED,
        priority: level,
        requests: 1,
        ..Filter::default()
    }
}

/// The same with a response at `response_ns`, after which the client was silent.
fn answered(level: u8, created_ns: u64, response_ns: u64) -> Filter {
    Filter { response_ns, last_seen_ns: response_ns, ..waiting(level, created_ns) }
}

fn collector() -> VictimCollector {
    VictimCollector::new(&EvictionSettings::default(), &AdjustSettings::default(), Pressure::default())
}

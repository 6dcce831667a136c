//! Many IPv4 flows of one service, each of another client address, and their filters.

use std::net::{IpAddr, Ipv4Addr};

use dispatcher_common::{
    address::Address,
    filter::{Filter, FlowKey, flag},
};

use crate::{
    program::{Program, service_id},
    segment::{ACK, CLIENT_PORT, Family, PORT, Segment},
    table::{ISN, established, good_ack},
};

/// Filters written by one system call.
const BATCH: usize = 8_192;

/// A power of two of flows, whose clients are one prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    prefix: u32,
    bits: u32,
}

impl Flows {
    /// So many bits of flows in the prefix that begins at this address.
    pub(crate) fn new(prefix: [u8; 4], bits: u32) -> Self {
        Self { prefix: u32::from_be_bytes(prefix), bits }
    }

    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    pub(crate) fn count(&self) -> u32 {
        1 << self.bits
    }

    pub(crate) fn client(&self, index: u32) -> u32 {
        self.prefix | index
    }

    pub(crate) fn vip(&self) -> Ipv4Addr {
        match Family::Ipv4.vip() {
            IpAddr::V4(vip) => vip,
            IpAddr::V6(_) => unreachable!("of IPv4"),
        }
    }

    pub(crate) fn client_port(&self) -> u16 {
        CLIENT_PORT
    }

    pub(crate) fn port(&self) -> u16 {
        PORT
    }

    /// All clients, some at a time.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Vec<u32>> {
        let all: Vec<u32> = (0..self.count()).map(|index| self.client(index)).collect();
        all.chunks(BATCH).map(<[u32]>::to_vec).collect::<Vec<_>>().into_iter()
    }

    /// Writes their filters, in the order of their addresses.
    pub(crate) fn insert(&self, program: &mut Program) {
        let table = program.filter_table();
        for clients in self.chunks() {
            let keys: Vec<FlowKey> = clients.iter().map(|client| key(*client)).collect();
            assert_eq!(table.update_batch(&keys, &vec![answered_once(); keys.len()]), 0);
        }
    }

    /// Writes the filters of two in turn, so that neighbours in memory are of both.
    pub(crate) fn insert_side_by_side(both: &[Self; 2], program: &mut Program) {
        let table = program.filter_table();
        for index in 0..both[0].count() {
            for flows in both {
                table.update(&key(flows.client(index)), &answered_once()).unwrap();
            }
        }
    }

    /// An acknowledgement of the first one.
    pub(crate) fn acknowledgement(&self) -> Segment {
        let source = IpAddr::from(self.client(0).to_be_bytes());
        let ack = good_ack(Family::Ipv4).wrapping_add(9);
        Segment { source, ..Segment::of_client(Family::Ipv4, ACK, ISN, ack).with_timestamps() }
    }
}

fn key(client: u32) -> FlowKey {
    FlowKey::new(Address::from_ipv4_be(client.to_be()), CLIENT_PORT.to_be(), service_id(Family::Ipv4))
}

/// The filter of a flow whose first response has begun, before numbers of TCP that are small.
fn answered_once() -> Filter {
    Filter {
        response_ns: 1,
        flags: flag::RESPONDED,
        request_ack: 0,
        next_seq: 0,
        ..established(Family::Ipv4)
    }
}

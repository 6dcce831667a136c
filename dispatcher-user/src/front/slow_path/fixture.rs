//! Client frames for the tests beside the code, built the plain way: every field written out, checksums summed anew.

use std::net::IpAddr;

use dispatcher_common::{
    address::Address,
    checksum::sum_bytes,
    server::ServerEntry,
    slow_path::{META_LEN, SlowPathMeta},
    tuple::Tuple,
};
use proptest::prelude::*;

use super::frame::{ETHERNET_LEN, IPV4_LEN, ROOM, Timestamps, flags};

pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const ENTRY: ServerEntry =
    ServerEntry { mac: [2, 0, 0, 0, 0, 0x11], source_mac: [2, 0, 0, 0, 0, 3], usable: 1 };

/// What a client's segment looks like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) ipv4: bool,
    pub(super) client_port: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) timestamps: Option<Timestamps>,
    pub(super) sack_blocks: usize,
    pub(super) payload: Vec<u8>,
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>());
    let timestamps =
        proptest::option::of(any::<(u32, u32)>().prop_map(|(value, echo)| Timestamps { value, echo }));
    let payload = proptest::collection::vec(any::<u8>(), 0..1400);
    (any::<bool>(), numbers, timestamps, 0_usize..=3, payload).prop_map(
        |(ipv4, (client_port, seq, ack, window), timestamps, sack_blocks, payload)| Shape {
            ipv4,
            client_port,
            seq,
            ack,
            flags: flags::ACK | flags::PSH,
            window,
            timestamps,
            sack_blocks,
            payload,
        },
    )
}

impl Shape {
    pub(super) fn request(payload: &[u8]) -> Self {
        Self {
            ipv4: true,
            client_port: 40_000,
            seq: 1001,
            ack: 5001,
            flags: flags::ACK | flags::PSH,
            window: 502,
            timestamps: Some(Timestamps { value: 700, echo: 300 }),
            sack_blocks: 0,
            payload: payload.to_vec(),
        }
    }

    fn addresses(&self) -> [IpAddr; 2] {
        let texts = if self.ipv4 { ["198.18.0.1", "198.18.0.100"] } else { ["2001:db8::1", "2001:db8::100"] };
        texts.map(|text| text.parse().unwrap())
    }

    pub(super) fn tuple(&self) -> Tuple {
        let [client, vip] = self.addresses().map(Address::from);
        Tuple { client, vip, client_port_be: self.client_port.to_be(), port_be: 80_u16.to_be() }
    }

    fn options(&self) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(Timestamps { value, echo }) = self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(value.to_be_bytes());
            options.extend(echo.to_be_bytes());
        }
        // Three blocks without timestamps are as long as two with them and a bit; both leave no room for a ticket.
        let blocks = if self.timestamps.is_some() { self.sack_blocks } else { self.sack_blocks + 1 };
        if self.sack_blocks > 0 {
            options.extend([1, 1, 5, 2 + 8 * blocks as u8]);
            options.extend((0..8 * blocks as u8).map(|i| i.wrapping_mul(37)));
        }
        options
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let options = self.options();
        let tcp_len = 20 + options.len() + self.payload.len();
        let mut tcp = Vec::new();
        tcp.extend(self.client_port.to_be_bytes());
        tcp.extend(80_u16.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([(((20 + options.len()) / 4) << 4) as u8, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        let mut network = Vec::new();
        let octets = self.addresses().map(|address| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        });
        if self.ipv4 {
            network.extend([0x45, 0]);
            network.extend((20 + tcp_len as u16).to_be_bytes());
            network.extend([0x12, 0x34, 0x40, 0, 61, 6, 0, 0]);
            network.extend(octets.concat());
            let sum = sum_bytes(&network).finish().to_ne_bytes();
            network[10..12].copy_from_slice(&sum);
        } else {
            network.extend([0x60, 0x0a, 0xbc, 0xde]);
            network.extend((tcp_len as u16).to_be_bytes());
            network.extend([6, 61]);
            network.extend(octets.concat());
        }
        let pseudo = [octets.concat(), vec![0, 6], (tcp_len as u16).to_be_bytes().to_vec()].concat();
        let sum = sum_bytes(&[pseudo, tcp.clone(), vec![0; tcp.len() % 2]].concat()).finish();
        tcp[16..18].copy_from_slice(&sum.to_ne_bytes());
        let ethertype = if self.ipv4 { [8, 0] } else { [0x86, 0xdd] };
        [&FRONT_MAC[..], &CLIENT_MAC, &ethertype, &network, &tcp].concat()
    }

    /// The frame as the slow path gets it: room, metadata in the last of it, frame.
    pub(super) fn given(&self, meta: SlowPathMeta) -> Vec<u8> {
        let mut room = vec![0; ROOM - META_LEN];
        room.extend([meta.kind, meta.options]);
        room.extend(meta.service.to_ne_bytes());
        room.extend(meta.server.to_ne_bytes());
        room.extend(meta.class.to_ne_bytes());
        room.extend(self.build());
        room
    }

    /// Whether the IPv4 header of an edited frame sums up; an IPv6 header has no checksum.
    pub(super) fn network_checksum_holds(&self, frame: &[u8]) -> bool {
        !self.ipv4 || sum_bytes(&frame[ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN]).finish() == 0
    }
}

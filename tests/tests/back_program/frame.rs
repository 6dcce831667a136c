//! Ethernet frames as a front-end sends them to a server: TCP segments of either family, with or without a ticket.

use std::net::{IpAddr, SocketAddr};

use dispatcher_common::{
    checksum::sum_bytes,
    epoch::Epoch,
    path_state::PathState,
    siphash::SipKey,
    syn_options::SynOptions,
    ticket::{self, KIND_HAND_OFF, Ticket},
    tuple::Tuple,
};
use dispatcher_user::kernel::clock;

/// The key that the programs under test are given.
pub(crate) const KEY: SipKey = SipKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// `TSval` and `TSecr` of the client.
pub(crate) const TIMESTAMP: u32 = 0x1000;
pub(crate) const ECHO: u32 = 0x0200_0000;
/// Options of a Linux client's data segment.
pub(crate) const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0x10, 0, 2, 0, 0, 0];

/// Sequence and acknowledgement number of a client's first request.
pub(crate) const SEQ: u32 = 1000;
pub(crate) const ACKNOWLEDGED: u32 = 5000;

/// A TCP segment from a client.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) hop_limit: u8,
    pub(crate) ticket: Option<Ticket>,
    /// Key and age in epochs of the ticket.
    pub(crate) sealed: (SipKey, u32),
    /// Options after the ticket, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What a modern client negotiates.
pub(crate) fn ticket(class: u16) -> Ticket {
    Ticket {
        kind: KIND_HAND_OFF,
        options: SynOptions::new(1460, Some(10), true),
        priority: 3,
        timestamps: true,
        followed: false,
        number: 0,
        class,
        server: 0,
        path: PathState::UNKNOWN,
    }
}

impl Segment {
    /// An ACK without payload.
    pub(crate) fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from,
            to,
            seq: SEQ,
            ack: ACKNOWLEDGED,
            flags: ACK,
            hop_limit: 64,
            ticket: None,
            sealed: (KEY, 0),
            options: TIMESTAMPS.to_vec(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Seals the ticket under another key or some epochs ago.
    pub(crate) fn sealed(mut self, key: SipKey, age: u32) -> Self {
        self.sealed = (key, age);
        self
    }

    pub(crate) fn port(mut self, port: u16) -> Self {
        self.from.set_port(port);
        self
    }

    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn at(mut self, seq: u32, ack: u32) -> Self {
        (self.seq, self.ack) = (seq, ack);
        self
    }

    pub(crate) fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// The same segment as it goes back to its sender.
    pub(crate) fn frame_back(&self) -> Vec<u8> {
        let mut frame = self.frame();
        frame[..12].rotate_left(6);
        frame
    }

    /// The Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let tcp = self.tcp();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let len = (20 + tcp.len()) as u16;
                let mut ip = vec![0x45, 0];
                ip.extend(len.to_be_bytes());
                ip.extend([0, 0, 0x40, 0, self.hop_limit, 6, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                let checksum = sum_bytes(&ip).finish().to_ne_bytes();
                ip[10..12].copy_from_slice(&checksum);
                [ethernet([0x08, 0x00]), ip, tcp].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend((tcp.len() as u16).to_be_bytes());
                ip.extend([6, self.hop_limit]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                [ethernet([0x86, 0xdd]), ip, tcp].concat()
            }
            _ => panic!("both ends are of one family"),
        }
    }

    fn tcp(&self) -> Vec<u8> {
        let ticket = self.ticket.map_or(Vec::new(), |ticket| self.seal(&ticket));
        let options = [ticket, self.options.clone()].concat();
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([(((20 + options.len()) / 4) << 4) as u8, self.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        let pseudo = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [&from.octets()[..], &to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [&from.octets()[..], &to.octets()].concat(),
            _ => panic!("both ends are of one family"),
        };
        let rest = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
        let checksum = sum_bytes(&[&pseudo[..], &rest, &tcp].concat()).finish().to_ne_bytes();
        tcp[16..18].copy_from_slice(&checksum);
        tcp
    }

    fn seal(&self, ticket: &Ticket) -> Vec<u8> {
        let tuple = Tuple {
            client: self.from.ip().into(),
            vip: self.to.ip().into(),
            client_port_be: self.from.port().to_be(),
            port_be: self.to.port().to_be(),
        };
        let place = ticket::Segment { tuple: &tuple, seq: self.seq, ack: self.ack };
        let Epoch(now) = Epoch::at(clock::wall_ns());
        let (key, age) = self.sealed;
        let words = ticket.seal(&key, &place, Epoch(now.wrapping_sub(age)));
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

fn ethernet(protocol: [u8; 2]) -> Vec<u8> {
    [&super::lab::SERVER_MAC[..], &super::lab::CLIENT_MAC, &protocol].concat()
}

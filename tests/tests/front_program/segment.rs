//! Frames of TCP segments, built and read back byte by byte; reading proves every checksum and length.

use std::net::IpAddr;

use dispatcher_common::{
    address::Address,
    checksum::{Sum, sum_bytes},
    tuple::Tuple,
};

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const CLIENT_PORT: u16 = 40_000;
pub(crate) const PORT: u16 = 80;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    fn pick(self, ipv4: &str, ipv6: &str) -> IpAddr {
        match self {
            Self::Ipv4 => ipv4,
            Self::Ipv6 => ipv6,
        }
        .parse()
        .unwrap()
    }

    pub(crate) fn client(self) -> IpAddr {
        self.pick("198.18.0.1", "2001:db8::1")
    }

    pub(crate) fn vip(self) -> IpAddr {
        self.pick("198.18.0.100", "2001:db8::100")
    }

    pub(crate) fn router(self) -> IpAddr {
        self.pick("203.0.113.9", "2001:db8:9::9")
    }

    pub(crate) fn tuple(self) -> Tuple {
        Tuple {
            client: Address::from(self.client()),
            vip: Address::from(self.vip()),
            client_port_be: CLIENT_PORT.to_be(),
            port_be: PORT.to_be(),
        }
    }

    /// Offset of what follows the IP header.
    pub(crate) fn payload_offset(self) -> usize {
        match self {
            Self::Ipv4 => 34,
            Self::Ipv6 => 54,
        }
    }
}

/// A segment to build, or one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source_mac: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) hop_limit: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// A segment of the client to the service.
    pub(crate) fn of_client(family: Family, flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            destination_mac: FRONT_MAC,
            source_mac: CLIENT_MAC,
            source: family.client(),
            destination: family.vip(),
            hop_limit: 57,
            source_port: CLIENT_PORT,
            destination_port: PORT,
            seq,
            ack,
            flags,
            window: 502,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn with_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub(crate) fn with_payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn with_timestamps(self) -> Self {
        self.with_options(&[1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 66])
    }

    /// The frame, padded to what Ethernet demands at least.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut tcp = self.tcp_header();
        tcp.extend(&self.payload);
        let checksum = transport_sum(&self.source, &self.destination, 6, &tcp).finish();
        tcp[16..18].copy_from_slice(&checksum.to_ne_bytes());
        let mut frame = [self.destination_mac, self.source_mac].concat();
        frame.extend(ip_packet(self.source, self.destination, self.hop_limit, 6, &tcp));
        frame.resize(frame.len().max(60), 0);
        frame
    }

    fn tcp_header(&self) -> Vec<u8> {
        assert!(self.options.len().is_multiple_of(4));
        let mut tcp = Vec::new();
        tcp.extend(self.source_port.to_be_bytes());
        tcp.extend(self.destination_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([((5 + self.options.len() / 4) as u8) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp
    }

    /// Reads a frame whose IP packet fills it but for Ethernet padding; panics on a wrong length or checksum.
    pub(crate) fn read(frame: &[u8]) -> Self {
        let (source, destination, hop_limit, tcp) = read_ip(frame);
        let header_len = (tcp[12] >> 4) as usize * 4;
        assert_eq!(transport_sum(&source, &destination, 6, tcp).finish(), 0, "TCP checksum");
        let word16 = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word32 = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Self {
            destination_mac: frame[..6].try_into().unwrap(),
            source_mac: frame[6..12].try_into().unwrap(),
            source,
            destination,
            hop_limit,
            source_port: word16(0),
            destination_port: word16(2),
            seq: word32(4),
            ack: word32(8),
            flags: tcp[13],
            window: word16(14),
            options: tcp[20..header_len].to_vec(),
            payload: tcp[header_len..].to_vec(),
        }
    }
}

/// EtherType, IP header and payload.
pub(crate) fn ip_packet(
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x08, 0x00, 0x45, 0]);
            packet.extend((len + 20).to_be_bytes());
            packet.extend([0x12, 0x34, 0x40, 0, hop_limit, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let checksum = sum_bytes(&packet[2..]).finish();
            packet[12..14].copy_from_slice(&checksum.to_ne_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x86, 0xdd, 0x60, 0x0a, 0xbc, 0xde]);
            packet.extend(len.to_be_bytes());
            packet.extend([protocol, hop_limit]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => panic!("mixed families"),
    }
    packet.extend(payload);
    packet
}

fn read_ip(frame: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0800 => {
            assert_eq!(frame[14], 0x45, "IPv4 version and header length");
            assert_eq!(sum_bytes(&frame[14..34]).finish(), 0, "IPv4 checksum");
            let end = 14 + u16::from_be_bytes([frame[16], frame[17]]) as usize;
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
            (address(26), address(30), frame[22], &frame[34..end])
        }
        0x86dd => {
            assert_eq!(frame[14] >> 4, 6, "IPv6 version");
            let end = 54 + u16::from_be_bytes([frame[18], frame[19]]) as usize;
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
            (address(22), address(38), frame[21], &frame[54..end])
        }
        other => panic!("EtherType {other:#06x}"),
    }
}

/// Sum of pseudo header and transport segment, for either family.
pub(crate) fn transport_sum(source: &IpAddr, destination: &IpAddr, protocol: u8, segment: &[u8]) -> Sum {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend((segment.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(segment);
    sum_bytes(&bytes)
}

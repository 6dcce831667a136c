//! Ethernet frames from segments and back, with right checksums unless a test breaks them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket,
    TcpHeader, TcpSlice, TransportSlice,
};

use super::segment::{Flags, Segment};

/// Bytes of an Ethernet header.
pub(super) const ETHERNET_LEN: usize = 14;

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// A segment from the wire.
#[derive(Clone, Debug)]
pub struct Received {
    pub segment: Segment,
    pub from_mac: [u8; 6],
    /// Whether the TCP checksum is right, or left to a network card by a host on the same machine.
    pub checksum_right: bool,
    /// Bytes of payload in each packet that the card would make of it.
    pub packet_payload: usize,
}

impl Segment {
    /// The frame for this segment.
    ///
    /// # Errors
    /// If the options exceed 40 bytes or the packet 65 535.
    pub fn frame(&self, from: Mac, to: Mac) -> Result<Vec<u8>> {
        let tcp = self.tcp_bytes()?;
        let mut frame = ethernet(from, to, self.source.ip());
        frame.extend(self.ip_header(tcp.len())?);
        frame.extend(tcp);
        Ok(frame)
    }

    /// TCP header and payload, with the checksum.
    pub(super) fn tcp_bytes(&self) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), self.seq, self.window);
        header.acknowledgment_number = self.ack;
        header.fin = self.flags.has(Flags::FIN);
        header.syn = self.flags.has(Flags::SYN);
        header.rst = self.flags.has(Flags::RST);
        header.psh = self.flags.has(Flags::PSH);
        header.ack = self.flags.has(Flags::ACK);
        ensure!(self.options.len() <= 40, "{} bytes of TCP options do not fit a header", self.options.len());
        header.set_options_raw(&self.options)?;
        header.checksum = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)?
            }
            (source, destination) => {
                header.calc_checksum_ipv6_raw(octets(source), octets(destination), &self.payload)?
            }
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(&self.payload);
        Ok(bytes)
    }

    fn ip_header(&self, length: usize) -> Result<Vec<u8>> {
        Ok(match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = u16::try_from(length)?;
                let mut header = Ipv4Header::new(
                    length,
                    self.hop_limit,
                    IpNumber::TCP,
                    source.octets(),
                    destination.octets(),
                )?;
                header.dont_fragment = true;
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (source, destination) => Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: u16::try_from(length)?,
                next_header: IpNumber::TCP,
                hop_limit: self.hop_limit,
                source: octets(source),
                destination: octets(destination),
            }
            .to_bytes()
            .to_vec(),
        })
    }
}

/// Makes the TCP checksum of a frame without IP options or extensions wrong.
pub fn break_checksum(frame: &mut [u8]) {
    let ip_len = if frame[12..14] == [0x08, 0x00] { 20 } else { 40 };
    frame[ETHERNET_LEN + ip_len + 16] ^= 0x55;
}

/// The segment in a frame; `None` for anything but TCP. `offloaded` says that the checksum is not computed yet.
pub(super) fn parse(frame: &[u8], offloaded: bool, packet_payload: usize) -> Option<Received> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    let (source, destination, hop_limit, right) = match packet.net? {
        NetSlice::Ipv4(v4) => {
            let header = v4.header();
            let sum = tcp.calc_checksum_ipv4(header.source(), header.destination()).ok()?;
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, header.ttl(), sum == tcp.checksum())
        }
        NetSlice::Ipv6(v6) => {
            let header = v6.header();
            let sum = tcp.calc_checksum_ipv6(header.source(), header.destination()).ok()?;
            let addresses: (IpAddr, IpAddr) = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, header.hop_limit(), sum == tcp.checksum())
        }
        NetSlice::Arp(_) => return None,
    };
    let segment = Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: flags(&tcp),
        window: tcp.window_size(),
        options: tcp.options().to_vec(),
        payload: tcp.payload().to_vec(),
        hop_limit,
    };
    let mut from_mac = [0; 6];
    from_mac.copy_from_slice(&frame[6..12]);
    let packet_payload = if packet_payload == 0 { segment.payload.len() } else { packet_payload };
    Some(Received { segment, from_mac, checksum_right: right || offloaded, packet_payload })
}

/// An Ethernet header for the family of `address`.
pub(super) fn ethernet(from: Mac, to: Mac, address: IpAddr) -> Vec<u8> {
    let ether_type = if address.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
    Ethernet2Header { source: from, destination: to, ether_type }.to_bytes().to_vec()
}

pub(super) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn flags(tcp: &TcpSlice<'_>) -> Flags {
    let bits = [
        (tcp.fin(), Flags::FIN),
        (tcp.syn(), Flags::SYN),
        (tcp.rst(), Flags::RST),
        (tcp.psh(), Flags::PSH),
        (tcp.ack(), Flags::ACK),
    ];
    bits.into_iter().filter(|(set, _)| *set).fold(Flags::default(), |all, (_, flag)| all.and(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Offer;

    fn segment(source: &str, destination: &str) -> Segment {
        Segment {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            seq: 1,
            ack: 2,
            flags: Flags::ACK.and(Flags::PSH),
            window: 1000,
            options: Offer::LINUX.encode(5),
            payload: b"GET / HTTP/1.1\r\n".to_vec(),
            hop_limit: 63,
        }
    }

    #[test]
    fn a_segment_is_read_back_as_it_was_written_in_both_families() {
        for (source, destination) in
            [("198.18.0.50:1234", "198.18.0.100:80"), ("[2001:db8::50]:1234", "[2001:db8::100]:80")]
        {
            let segment = segment(source, destination);
            let mut frame = segment.frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).unwrap();
            let received = parse(&frame, false, 0).unwrap();
            assert_eq!(received.segment, segment);
            assert_eq!(received.from_mac, [2, 0, 0, 0, 0, 1]);
            assert!(received.checksum_right);
            break_checksum(&mut frame);
            assert!(!parse(&frame, false, 0).unwrap().checksum_right);
        }
    }
}

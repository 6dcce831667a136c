//! Packets that are no plain TCP segments: fragments, IP options, extension headers, and ICMP messages about the path's MTU.

use std::net::IpAddr;

use anyhow::{Result, bail};
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    icmpv4::DestUnreachableHeader,
};

use super::{
    frame::{ETHERNET_LEN, Mac, ethernet, octets},
    segment::Segment,
};

/// The segment as the first IPv4 fragment of a longer packet.
///
/// # Errors
/// If the segment is not IPv4 or too long.
pub fn fragment(segment: &Segment, from: Mac, to: Mac) -> Result<Vec<u8>> {
    let mut header = ipv4(segment)?;
    header.more_fragments = true;
    assemble(segment, header, from, to)
}

/// The segment with four bytes of IPv4 options (no-operations).
///
/// # Errors
/// If the segment is not IPv4 or too long.
pub fn with_ip_options(segment: &Segment, from: Mac, to: Mac) -> Result<Vec<u8>> {
    let mut header = ipv4(segment)?;
    header.options = [1, 1, 1, 0].into();
    header.set_payload_len(segment.tcp_bytes()?.len())?;
    assemble(segment, header, from, to)
}

/// The segment behind an IPv6 destination-options header that holds only padding.
///
/// # Errors
/// If the segment is too long.
pub fn with_extension(segment: &Segment, from: Mac, to: Mac) -> Result<Vec<u8>> {
    let tcp = segment.tcp_bytes()?;
    let mut frame = ethernet(from, to, segment.source.ip());
    frame.extend(ipv6(segment.source.ip(), segment.destination.ip(), tcp.len() + 8, IpNumber(60))?);
    frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(tcp);
    Ok(frame)
}

/// A router's message to the sender of `segment` that the packet did not fit `mtu`.
///
/// # Errors
/// If the segment cannot be encoded.
pub fn too_big(segment: &Segment, router: IpAddr, mtu: u16, from: Mac, to: Mac) -> Result<Vec<u8>> {
    let packet = &segment.frame(from, to)?[ETHERNET_LEN..];
    let receiver = segment.source.ip();
    let mut frame = ethernet(from, to, receiver);
    if let (IpAddr::V4(router), IpAddr::V4(receiver)) = (router, receiver) {
        let quoted = &packet[..packet.len().min(28)];
        let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        let icmp = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), quoted).to_bytes();
        let length = u16::try_from(icmp.len() + quoted.len())?;
        let mut header = Ipv4Header::new(length, 64, IpNumber::ICMP, router.octets(), receiver.octets())?;
        header.header_checksum = header.calc_header_checksum();
        frame.extend(header.to_bytes());
        frame.extend(icmp);
        frame.extend(quoted);
    } else {
        let quoted = &packet[..packet.len().min(1232)];
        let kind = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
        let icmp = Icmpv6Header::with_checksum(kind, octets(router), octets(receiver), quoted)?.to_bytes();
        frame.extend(ipv6(router, receiver, icmp.len() + quoted.len(), IpNumber::IPV6_ICMP)?);
        frame.extend(icmp);
        frame.extend(quoted);
    }
    Ok(frame)
}

fn ipv4(segment: &Segment) -> Result<Ipv4Header> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (segment.source.ip(), segment.destination.ip())
    else {
        bail!("the segment from {} is not IPv4", segment.source);
    };
    let length = u16::try_from(segment.tcp_bytes()?.len())?;
    Ok(Ipv4Header::new(length, segment.hop_limit, IpNumber::TCP, source.octets(), destination.octets())?)
}

fn assemble(segment: &Segment, mut header: Ipv4Header, from: Mac, to: Mac) -> Result<Vec<u8>> {
    header.header_checksum = header.calc_header_checksum();
    let mut frame = ethernet(from, to, segment.source.ip());
    frame.extend(header.to_bytes());
    frame.extend(segment.tcp_bytes()?);
    Ok(frame)
}

fn ipv6(source: IpAddr, destination: IpAddr, length: usize, next: IpNumber) -> Result<[u8; 40]> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(length)?,
        next_header: next,
        hop_limit: 64,
        source: octets(source),
        destination: octets(destination),
    };
    Ok(header.to_bytes())
}

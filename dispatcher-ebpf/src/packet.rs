//! The one description of a TCP segment that parsing fills; everything after parsing reads only this. Says what a frame is,
//! not whether anybody wants it: its addresses may be nobody's.

use dispatcher_common::{address::Address, tuple::Tuple};

use crate::{
    frame::Frame,
    header::{
        ETHER_TYPE_IPV4_BE, ETHER_TYPE_IPV6_BE, ETHERNET_LEN, Ethernet, IPV4_FRAGMENT_MASK_BE, IPV4_LEN,
        IPV4_VERSION_AND_WORDS, IPV6_LEN, Ipv4, Ipv6, TCP_LEN, Tcp, protocol, tcp_flag,
    },
};

/// IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Offset in the frame of what follows the IP header.
    #[inline(always)]
    #[must_use]
    pub const fn payload_offset(self) -> usize {
        match self {
            Self::Ipv4 => ETHERNET_LEN + IPV4_LEN,
            Self::Ipv6 => ETHERNET_LEN + IPV6_LEN,
        }
    }
}

/// A TCP segment. Numbers are in host byte order unless their name says `be`.
///
/// In this order because functions of their own get it on the stack, where the verifier wants every load aligned to its size,
/// and LLVM joins neighbouring fields into loads of eight bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Bytes of the TCP header with its options, by the data offset.
    pub header_len: usize,
    /// Bytes of TCP header and payload, by the IP header: the frame may be longer (Ethernet padding).
    pub segment_len: usize,
    pub seq: u32,
    pub ack: u32,
    pub tuple: Tuple,
    pub flags: u8,
    pub family: Family,
}

/// What a frame is.
#[derive(Clone, Copy, Debug)]
pub enum Parsed {
    /// A TCP segment, its lengths not yet proved.
    Tcp(Packet),
    /// ICMP or ICMPv6, directly after the IP header.
    Icmp(Family),
    /// An IP fragment to this address.
    Fragment(Address),
    /// An IPv4 packet with TCP and with options, to this address.
    IpOptions(Address),
    /// An IPv6 packet with extension headers to this address.
    Extension(Address),
    Other,
}

impl Packet {
    /// Describes a frame.
    #[inline(always)]
    #[must_use]
    pub fn parse(frame: Frame) -> Parsed {
        match frame.read::<Ethernet>(0) {
            Some(Ethernet { ether_type_be: ETHER_TYPE_IPV4_BE, .. }) => ipv4(frame),
            Some(Ethernet { ether_type_be: ETHER_TYPE_IPV6_BE, .. }) => ipv6(frame),
            _ => Parsed::Other,
        }
    }

    /// Whether the lengths agree with each other and with the frame.
    #[inline(always)]
    #[must_use]
    pub fn is_well_formed(&self, frame: Frame) -> bool {
        self.header_len >= TCP_LEN
            && self.segment_len >= self.header_len
            && self.tcp_offset() + self.segment_len <= frame.len_bytes()
    }

    /// Offset of the TCP header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn tcp_offset(&self) -> usize {
        self.family.payload_offset()
    }

    /// Bytes after the TCP header; only for a well-formed packet.
    #[inline(always)]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.segment_len - self.header_len
    }

    /// Whether all of these flags are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence number after this segment: SYN and FIN count as one byte each.
    #[inline(always)]
    #[must_use]
    pub fn next_seq(&self) -> u32 {
        let controls = self.has(tcp_flag::SYN) as u32 + self.has(tcp_flag::FIN) as u32;
        self.seq.wrapping_add(self.payload_len() as u32).wrapping_add(controls)
    }

    /// First four bytes of the TCP options, as they lie there, if there are options.
    #[inline(always)]
    #[must_use]
    pub fn first_option(&self, frame: Frame) -> Option<u32> {
        if self.header_len > TCP_LEN { frame.read(self.tcp_offset() + TCP_LEN) } else { None }
    }
}

#[inline(always)]
fn ipv4(frame: Frame) -> Parsed {
    let Some(ip) = frame.read::<Ipv4>(ETHERNET_LEN) else { return Parsed::Other };
    if ip.protocol != protocol::TCP {
        return if ip.protocol == protocol::ICMPV4 && is_plain(&ip) {
            Parsed::Icmp(Family::Ipv4)
        } else {
            Parsed::Other
        };
    }
    let vip = Address::from_ipv4_be(ip.destination_be);
    if ip.fragment_be & IPV4_FRAGMENT_MASK_BE != 0 {
        return Parsed::Fragment(vip);
    }
    if ip.version_and_words != IPV4_VERSION_AND_WORDS {
        return Parsed::IpOptions(vip);
    }
    // A length below its own header leaves nothing for TCP, which is malformed.
    let segment_len = (u16::from_be(ip.total_len_be) as usize).saturating_sub(IPV4_LEN);
    tcp(frame, Family::Ipv4, Address::from_ipv4_be(ip.source_be), vip, segment_len)
}

/// Without options and not a fragment.
#[inline(always)]
fn is_plain(ip: &Ipv4) -> bool {
    ip.fragment_be & IPV4_FRAGMENT_MASK_BE == 0 && ip.version_and_words == IPV4_VERSION_AND_WORDS
}

#[inline(always)]
fn ipv6(frame: Frame) -> Parsed {
    let Some(ip) = frame.read::<Ipv6>(ETHERNET_LEN) else { return Parsed::Other };
    let vip = Address::from_halves(ip.destination);
    match ip.next_header {
        protocol::TCP => {
            let segment_len = u16::from_be(ip.payload_len_be) as usize;
            tcp(frame, Family::Ipv6, Address::from_halves(ip.source), vip, segment_len)
        }
        protocol::ICMPV6 => Parsed::Icmp(Family::Ipv6),
        protocol::FRAGMENT => Parsed::Fragment(vip),
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::AUTHENTICATION
        | protocol::DESTINATION_OPTIONS
        | protocol::MOBILITY => Parsed::Extension(vip),
        _ => Parsed::Other,
    }
}

#[inline(always)]
fn tcp(frame: Frame, family: Family, client: Address, vip: Address, segment_len: usize) -> Parsed {
    // A frame that ends within the fixed header names no service for certain; the kernel refuses it.
    let Some(tcp) = frame.read::<Tcp>(family.payload_offset()) else { return Parsed::Other };
    Parsed::Tcp(Packet {
        family,
        tuple: Tuple { client, vip, client_port_be: tcp.source_port_be, port_be: tcp.destination_port_be },
        seq: u32::from_be(tcp.seq_be),
        ack: u32::from_be(tcp.ack_be),
        flags: tcp.flags,
        header_len: (tcp.data_offset >> 4) as usize * 4,
        segment_len,
    })
}

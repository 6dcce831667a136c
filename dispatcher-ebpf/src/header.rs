//! Layouts of the headers that the programs read and write (RFC 791, 8200, 9293). Fields are as they lie in a packet.

/// Types that any bytes of a packet may be read as.
///
/// # Safety
///
/// Every bit pattern must be a value, and there must be no padding.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: integers, arrays of them, or `repr(C, packed)` structs of them.
            unsafe impl Plain for $type {}
        )+
    };
}

plain!(u8, u16, u32, u64, Ethernet, Ipv4, Ipv6, Tcp);

// SAFETY: an array has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Ethernet header.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ether_type_be: u16,
}

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = size_of::<Ethernet>();

/// EtherType of IPv4.
pub const ETHER_TYPE_IPV4_BE: u16 = 0x0800_u16.to_be();
/// EtherType of IPv6.
pub const ETHER_TYPE_IPV6_BE: u16 = 0x86dd_u16.to_be();

/// IPv4 header without options.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    pub version_and_words: u8,
    pub service: u8,
    pub total_len_be: u16,
    pub id_be: u16,
    pub fragment_be: u16,
    pub hop_limit: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source_be: u32,
    pub destination_be: u32,
}

/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = size_of::<Ipv4>();
/// First byte of an IPv4 header without options.
pub const IPV4_VERSION_AND_WORDS: u8 = 0x45;
/// "More fragments" and the offset: not zero in any fragment.
pub const IPV4_FRAGMENT_MASK_BE: u16 = 0x3fff_u16.to_be();

/// IPv6 header.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    pub version_class_label_be: u32,
    pub payload_len_be: u16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u64; 2],
    pub destination: [u64; 2],
}

/// Bytes of an IPv6 header.
pub const IPV6_LEN: usize = size_of::<Ipv6>();

/// Values of `protocol` and `next_header`.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMPV4: u8 = 1;
    pub const TCP: u8 = 6;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const MOBILITY: u8 = 135;
}

/// The fixed part of a TCP header.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub source_port_be: u16,
    pub destination_port_be: u16,
    pub seq_be: u32,
    pub ack_be: u32,
    /// Header length in words in the upper four bits.
    pub data_offset: u8,
    pub flags: u8,
    pub window_be: u16,
    pub checksum: u16,
    pub urgent_be: u16,
}

/// Bytes of the fixed part of a TCP header.
pub const TCP_LEN: usize = size_of::<Tcp>();

/// Bits of [`Tcp::flags`].
pub mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

const _: () = assert!(ETHERNET_LEN == 14 && IPV4_LEN == 20 && IPV6_LEN == 40 && TCP_LEN == 20);

//! The description of a TCP segment to or from a service. Parsed once; everything after reads only this.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_pull_data},
    programs::TcContext,
};
use dispatcher_common::{address::Address, filter::FlowKey, service::ServiceKey, tuple::Tuple};

use super::maps::SERVICES;

pub(super) const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;

const PROTOCOL_IPV4: u32 = 0x0800_u16.to_be() as u32;
const PROTOCOL_IPV6: u32 = 0x86dd_u16.to_be() as u32;
const NEXT_TCP: u8 = 6;
const NEXT_FRAGMENT: u8 = 44;

/// TCP flags.
pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;

/// Which end of the connection sent the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// A TCP segment of a service.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) tuple: Tuple,
    pub(super) service: u16,
    /// Whether the frame carries IPv6.
    pub(super) ipv6: bool,
    /// Host byte order.
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// TTL of IPv4, hop limit of IPv6.
    pub(super) hop_limit: u8,
    /// TCP header length in 32-bit words, 5..=15.
    pub(super) header_words: u8,
    /// Offset of the TCP header in the frame.
    pub(super) tcp_offset: u32,
    pub(super) payload_len: u32,
}

/// What a frame turned out to be.
pub(super) enum Parsed {
    /// Not TCP of a service.
    Other,
    /// To or from a service, but it cannot be a segment of a connection.
    Malformed,
    Segment(Segment),
}

/// The addresses of a frame and where its TCP header is, before the ports are known.
struct Network {
    source: Address,
    destination: Address,
    hop_limit: u8,
    /// Length of IP header and all that follows, by the IP header; 0 if over 65 535 (RFC 2675, and GRO of Linux).
    len: usize,
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv4 {
    version_and_len: u8,
    tos: u8,
    total_len_be: u16,
    id: u16,
    fragment_be: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv6 {
    version_and_flow: u32,
    payload_len_be: u16,
    next: u8,
    hop_limit: u8,
    source: [u64; 2],
    destination: [u64; 2],
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Tcp {
    source_be: u16,
    destination_be: u16,
    seq_be: u32,
    ack_be: u32,
    header_words: u8,
    flags: u8,
    window: u16,
    checksum: u16,
    urgent: u16,
}

const _: () =
    assert!(size_of::<Ipv4>() == IPV4_LEN && size_of::<Ipv6>() == IPV6_LEN && size_of::<Tcp>() == TCP_LEN);

impl Segment {
    /// Key of the segment's flow.
    #[inline(always)]
    pub(super) fn flow_key(&self) -> FlowKey {
        FlowKey::new(self.tuple.client, self.tuple.client_port_be, self.service)
    }

    /// Offset of the payload in the frame.
    #[inline(always)]
    pub(super) fn payload_offset(&self) -> u32 {
        self.tcp_offset + self.header_words as u32 * 4
    }

    /// Sequence number after the payload.
    #[inline(always)]
    pub(super) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.payload_len)
    }

    /// Reads a frame that `sender` sent.
    #[inline(always)]
    pub(super) fn parse(ctx: &TcContext, sender: Sender) -> Parsed {
        // SAFETY: the context of a TC program; `protocol` is a plain field of it.
        match unsafe { (*ctx.skb.skb).protocol } {
            PROTOCOL_IPV4 => parse_ipv4(ctx, sender),
            PROTOCOL_IPV6 => parse_ipv6(ctx, sender),
            _ => Parsed::Other,
        }
    }
}

/// Makes the first `need` bytes directly readable; a driver may leave them in page fragments.
#[inline(always)]
fn pull(ctx: &TcContext, need: usize) {
    if ctx.data() + need > ctx.data_end() && ctx.len() as usize >= need {
        // SAFETY: a helper call on the program's own context.
        unsafe { bpf_skb_pull_data(ctx.skb.skb, need as u32) };
    }
}

#[inline(always)]
fn header<T: Copy>(ctx: &TcContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bounds were checked; `T` is a packed header of plain integers.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn load<T: Copy + Default>(skb: *mut __sk_buff, offset: usize) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes of plain data into `value`, or fails.
    let status = unsafe {
        bpf_skb_load_bytes(skb.cast(), offset as u32, (&raw mut value).cast(), size_of::<T>() as u32)
    };
    (status == 0).then_some(value)
}

#[inline(always)]
fn parse_ipv4(ctx: &TcContext, sender: Sender) -> Parsed {
    pull(ctx, ETHERNET_LEN + IPV4_LEN + TCP_LEN);
    let Some(ip) = header::<Ipv4>(ctx, ETHERNET_LEN) else { return Parsed::Other };
    if ip.protocol != NEXT_TCP {
        return Parsed::Other;
    }
    let network = Network {
        source: Address::from_ipv4_be(ip.source),
        destination: Address::from_ipv4_be(ip.destination),
        hop_limit: ip.ttl,
        len: u16::from_be(ip.total_len_be) as usize,
    };
    let fragment = u16::from_be(ip.fragment_be);
    let header_len = (ip.version_and_len & 0xf) as usize * 4;
    if fragment & 0x3fff == 0 && header_len == IPV4_LEN {
        return parse_tcp::<IPV4_LEN>(ctx, &network, sender);
    }
    // A later fragment has no ports; without its first, which does, the kernel never delivers it.
    if fragment & 0x1fff != 0 {
        return Parsed::Other;
    }
    odd(ctx, &network, sender, ETHERNET_LEN + header_len)
}

#[inline(always)]
fn parse_ipv6(ctx: &TcContext, sender: Sender) -> Parsed {
    pull(ctx, ETHERNET_LEN + IPV6_LEN + TCP_LEN);
    let Some(ip) = header::<Ipv6>(ctx, ETHERNET_LEN) else { return Parsed::Other };
    let payload_len = u16::from_be(ip.payload_len_be) as usize;
    let network = Network {
        source: Address::from_halves(ip.source),
        destination: Address::from_halves(ip.destination),
        hop_limit: ip.hop_limit,
        len: if payload_len == 0 { 0 } else { payload_len + IPV6_LEN },
    };
    if ip.next == NEXT_TCP {
        return parse_tcp::<IPV6_LEN>(ctx, &network, sender);
    }
    parse_extension(ctx, &network, sender, ip.next)
}

/// An extension header before TCP: hop-by-hop, routing, fragment or destination options.
#[inline(always)]
fn parse_extension(ctx: &TcContext, network: &Network, sender: Sender, next: u8) -> Parsed {
    if !matches!(next, 0 | 43 | NEXT_FRAGMENT | 60) {
        return Parsed::Other;
    }
    let offset = ETHERNET_LEN + IPV6_LEN;
    let Some([inner, len, fragment_high, fragment_low]) = load::<[u8; 4]>(ctx.skb.skb, offset) else {
        return Parsed::Other;
    };
    let is_fragment = next == NEXT_FRAGMENT;
    let is_later = is_fragment && (fragment_high != 0 || fragment_low & 0xf8 != 0);
    if inner != NEXT_TCP || is_later {
        return Parsed::Other;
    }
    let len = if is_fragment { 8 } else { (len as usize + 1) * 8 };
    odd(ctx, network, sender, offset + len)
}

/// A frame whose TCP header is not where it should be: malformed if it is of a service at all.
#[inline(always)]
fn odd(ctx: &TcContext, network: &Network, sender: Sender, tcp_offset: usize) -> Parsed {
    let Some([source_be, destination_be]) = load::<[u16; 2]>(ctx.skb.skb, tcp_offset) else {
        return Parsed::Other;
    };
    match find_service(&tuple(network, sender, source_be, destination_be)) {
        Some(_) => Parsed::Malformed,
        None => Parsed::Other,
    }
}

#[inline(always)]
fn tuple(network: &Network, sender: Sender, source_be: u16, destination_be: u16) -> Tuple {
    match sender {
        Sender::Client => Tuple {
            client: network.source,
            vip: network.destination,
            client_port_be: source_be,
            port_be: destination_be,
        },
        Sender::Server => Tuple {
            client: network.destination,
            vip: network.source,
            client_port_be: destination_be,
            port_be: source_be,
        },
    }
}

/// The service that a tuple is of.
#[inline(always)]
pub(super) fn find_service(tuple: &Tuple) -> Option<u16> {
    let key = ServiceKey::new(tuple.vip, tuple.port_be);
    // SAFETY: entries change only when the agent starts; a torn read gives an id that no flow has.
    unsafe { SERVICES.get(key) }.map(|entry| entry.id)
}

#[inline(always)]
fn parse_tcp<const IP_LEN: usize>(ctx: &TcContext, network: &Network, sender: Sender) -> Parsed {
    let tcp_offset = ETHERNET_LEN + IP_LEN;
    let Some(tcp) = header::<Tcp>(ctx, tcp_offset) else { return Parsed::Other };
    let tuple = tuple(network, sender, tcp.source_be, tcp.destination_be);
    let Some(service) = find_service(&tuple) else { return Parsed::Other };
    let header_words = tcp.header_words >> 4;
    let frame_len = ctx.len() as usize - ETHERNET_LEN;
    let len = if network.len == 0 { frame_len } else { network.len };
    let headers_len = IP_LEN + header_words as usize * 4;
    if header_words < 5 || headers_len > len || len > frame_len {
        return Parsed::Malformed;
    }
    Parsed::Segment(Segment {
        tuple,
        service,
        ipv6: IP_LEN == IPV6_LEN,
        seq: u32::from_be(tcp.seq_be),
        ack: u32::from_be(tcp.ack_be),
        flags: tcp.flags,
        hop_limit: network.hop_limit,
        header_words,
        tcp_offset: tcp_offset as u32,
        payload_len: (len - headers_len) as u32,
    })
}

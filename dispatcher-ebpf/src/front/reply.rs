//! Answers to a client, made in place of its frame and sent back the way it came: SYN-ACK, ACK, RST.

use dispatcher_common::{
    address::Address, checksum::Sum, counter::FrontCounter, limits::HOP_LIMIT, tuple::Tuple,
};
use dispatcher_ebpf::{
    frame::Frame,
    header::{ETHERNET_LEN, IPV4_LEN, protocol, tcp_flag},
    packet::Family,
};

use super::{frame, segment::Segment, verdict::Verdict};

/// A TCP header of an answer without its options. Host byte order.
pub(super) struct Header {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
}

/// No-operation option (RFC 9293 section 3.1), four of them and two of them in the upper half.
pub(super) const NOPS: u32 = 0x0101_0101;
pub(super) const TWO_NOPS: u32 = 0x0101_0000;

/// A RST as the receiver of the segment would send it (RFC 9293 section 3.10.7.1): exact for any client, without knowing the
/// server's sequence numbers. The segment has an ACK.
#[inline(never)]
pub(super) fn reset(segment: &Segment<'_>, counter: FrontCounter) -> Verdict {
    let header = Header { seq: segment.packet.ack, ack: 0, flags: tcp_flag::RST, window: 0 };
    send(segment, &header, [], counter)
}

/// The same to a SYN, which has no ACK: from nowhere, and acknowledging all of it.
#[inline(always)]
pub(super) fn reset_syn(segment: &Segment<'_>, counter: FrontCounter) -> Verdict {
    let ack = segment.packet.next_seq();
    let header = Header { seq: 0, ack, flags: tcp_flag::RST | tcp_flag::ACK, window: 0 };
    send(segment, &header, [], counter)
}

/// Sends a TCP header with these words of options, in host byte order. Only the addresses and ports of the client's frame
/// remain.
#[inline(always)]
pub(super) fn send<const N: usize>(
    segment: &Segment<'_>,
    header: &Header,
    options: [u32; N],
    counter: FrontCounter,
) -> Verdict {
    match build(segment, header, options) {
        Some(()) => Verdict::transmit(counter),
        None => Verdict::drop(FrontCounter::NoHeadroomDropped),
    }
}

#[inline(always)]
fn build<const N: usize>(segment: &Segment<'_>, header: &Header, options: [u32; N]) -> Option<()> {
    let packet = segment.packet;
    let tcp_len = 20 + 4 * N;
    let link = segment.frame.read::<[u32; 4]>(0)?;
    let frame = frame::resize(segment.ctx, segment.frame, packet.tcp_offset() + tcp_len)?;
    frame.write(0, answered(link))?;
    match packet.family {
        Family::Ipv4 => write_ipv4(frame, &packet.tuple, tcp_len as u32)?,
        Family::Ipv6 => write_ipv6(frame, &packet.tuple, tcp_len as u32)?,
    }
    write_tcp(frame, packet.tcp_offset(), &packet.tuple, header, options)
}

/// The link-layer header with its addresses in each other's place: twelve bytes turned by six. The last word has the
/// EtherType, and two bytes of IP that are written later.
#[inline(always)]
fn answered([a, b, c, rest]: [u32; 4]) -> [u32; 4] {
    [b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16, rest]
}

/// Don't-fragment bit in the word of id and fragment offset.
const DO_NOT_FRAGMENT: u32 = 0x4000;

#[inline(always)]
fn write_ipv4(frame: Frame, tuple: &Tuple, tcp_len: u32) -> Option<()> {
    let (source, destination) = (tuple.vip.words()[3], tuple.client.words()[3]);
    let lengths = (0x4500_0000 | (IPV4_LEN as u32 + tcp_len)).to_be();
    let fragment = DO_NOT_FRAGMENT.to_be();
    let hop = ((HOP_LIMIT as u32) << 24 | (protocol::TCP as u32) << 16).to_be();
    let checksum = Sum::default().add(lengths).add(fragment).add(hop).add(source).add(destination).finish();
    let hop = hop | (u16::from_be(checksum) as u32).to_be();
    frame.write(ETHERNET_LEN, [lengths, fragment, hop, source, destination])
}

#[inline(always)]
fn write_ipv6(frame: Frame, tuple: &Tuple, tcp_len: u32) -> Option<()> {
    let version = 0x6000_0000_u32.to_be();
    let lengths = (tcp_len << 16 | (protocol::TCP as u32) << 8 | HOP_LIMIT as u32).to_be();
    frame.write(ETHERNET_LEN, [version, lengths])?;
    write_address(frame, ETHERNET_LEN + 8, &tuple.vip)?;
    write_address(frame, ETHERNET_LEN + 24, &tuple.client)
}

// By halves: an array of them would be copied byte by byte.
#[inline(always)]
fn write_address(frame: Frame, offset: usize, address: &Address) -> Option<()> {
    let [first, second] = address.halves();
    frame.write(offset, first)?;
    frame.write(offset + 8, second)
}

#[inline(always)]
fn write_tcp<const N: usize>(
    frame: Frame,
    offset: usize,
    tuple: &Tuple,
    header: &Header,
    options: [u32; N],
) -> Option<()> {
    let words = 5 + N as u32;
    let control = words << 28 | (header.flags as u32) << 16 | header.window as u32;
    let fixed = [
        tuple.port_be as u32 | (tuple.client_port_be as u32) << 16,
        header.seq.to_be(),
        header.ack.to_be(),
        control.to_be(),
    ];
    let mut sum = pseudo_header(tuple, words * 4);
    for word in fixed {
        sum = sum.add(word);
    }
    for (index, option) in options.iter().enumerate() {
        let word = option.to_be();
        sum = sum.add(word);
        frame.write(offset + 20 + 4 * index, word)?;
    }
    frame.write(offset, fixed)?;
    // The urgent pointer stays zero.
    frame.write(offset + 16, [sum.finish(), 0])
}

/// Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), the same for both families: the prefix of a mapped
/// IPv4 address is 0xffff, which is nothing in one's complement.
#[inline(always)]
fn pseudo_header(tuple: &Tuple, tcp_len: u32) -> Sum {
    let sum = Sum::default().add((protocol::TCP as u32).to_be()).add(tcp_len.to_be());
    add_address(add_address(sum, &tuple.client), &tuple.vip)
}

#[inline(always)]
fn add_address(sum: Sum, address: &Address) -> Sum {
    let [a, b, c, d] = address.words();
    sum.add(a).add(b).add(c).add(d)
}

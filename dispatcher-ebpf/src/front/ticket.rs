//! Tickets that the program itself adds: for the hand-off sent again. The first one is the control plane's work.

use dispatcher_common::{
    checksum::Sum,
    counter::FrontCounter,
    filter::Filter,
    limits::{MAX_OPTIONS_BESIDE_TICKET, TICKET_LEN},
    slow_path::{SlowPathMeta, kind},
    syn_options::SynOptions,
    ticket::{self, KIND_HAND_OFF, Ticket, TicketWords},
};
use dispatcher_ebpf::{
    frame::Frame,
    header::{ETHERNET_LEN, Ipv4, Ipv6, TCP_LEN, Tcp},
    packet::{Family, Packet},
    tcp_options::TcpOptions,
};

use super::{forward, frame, segment::Segment, slow_path, verdict::Verdict};

/// Sends the hand-off again with a new ticket, or through the control plane when its options leave no room for one.
#[inline(never)]
pub(super) fn repeat(segment: &Segment<'_>, filter: &Filter) -> Verdict {
    if segment.packet.header_len > TCP_LEN + MAX_OPTIONS_BESIDE_TICKET {
        let meta = SlowPathMeta {
            server: filter.server,
            class: filter.class,
            ..slow_path::meta(segment, kind::RETICKET, filter.options)
        };
        return slow_path::hand_over(segment, meta, FrontCounter::HandoffRepeatedSlow);
    }
    let words = seal(segment, filter);
    match insert(segment, words) {
        Some(frame) => {
            forward::to_server(frame, segment.settings, filter.server, FrontCounter::HandoffRepeated)
        }
        None => Verdict::drop(FrontCounter::NoHeadroomDropped),
    }
}

#[inline(always)]
fn seal(segment: &Segment<'_>, filter: &Filter) -> TicketWords {
    let packet = segment.packet;
    let ticket = Ticket {
        kind: KIND_HAND_OFF,
        options: SynOptions(filter.options),
        priority: filter.priority,
        timestamps: TcpOptions::parse(segment.frame, packet).timestamp_be().is_some(),
        class: filter.class,
        server: filter.server,
    };
    let place = ticket::Segment { tuple: &packet.tuple, seq: packet.seq, ack: packet.ack };
    ticket.seal(&segment.settings.ticket_key, &place, segment.epoch())
}

/// Puts a ticket straight after the fixed TCP header; the headers before it move towards the head of the frame.
#[inline(always)]
fn insert(segment: &Segment<'_>, words: TicketWords) -> Option<Frame> {
    let packet = segment.packet;
    let frame = frame::grow_head(segment.ctx, TICKET_LEN)?;
    match packet.family {
        Family::Ipv4 => move_ipv4(frame)?,
        Family::Ipv6 => move_ipv6(frame)?,
    }
    // The ticket comes to lie over where the fixed header was, so last.
    move_tcp(frame, packet, words)?;
    frame.write(packet.tcp_offset() + TCP_LEN, words)?;
    Some(frame)
}

// The link-layer addresses need not move: they are about to be overwritten.
#[inline(always)]
fn move_ipv4(frame: Frame) -> Option<()> {
    let mut ip = frame.read::<Ipv4>(TICKET_LEN + ETHERNET_LEN)?;
    let old = ip.total_len_be;
    ip.total_len_be = lengthened(old);
    ip.checksum = Sum::resume(ip.checksum).replace16(old, ip.total_len_be).finish();
    move_ether_type(frame)?;
    frame.write(ETHERNET_LEN, ip)
}

#[inline(always)]
fn move_ipv6(frame: Frame) -> Option<()> {
    let mut ip = frame.read::<Ipv6>(TICKET_LEN + ETHERNET_LEN)?;
    ip.payload_len_be = lengthened(ip.payload_len_be);
    move_ether_type(frame)?;
    frame.write(ETHERNET_LEN, ip)
}

#[inline(always)]
fn move_ether_type(frame: Frame) -> Option<()> {
    const OFFSET: usize = ETHERNET_LEN - 2;
    let ether_type_be = frame.read::<u16>(TICKET_LEN + OFFSET)?;
    frame.write(OFFSET, ether_type_be)
}

#[inline(always)]
fn move_tcp(frame: Frame, packet: &Packet, words: TicketWords) -> Option<()> {
    let offset = packet.tcp_offset();
    let mut tcp = frame.read::<Tcp>(TICKET_LEN + offset)?;
    let old = u16::from_ne_bytes([tcp.data_offset, tcp.flags]);
    tcp.data_offset += (TICKET_LEN as u8 / 4) << 4;
    let new = u16::from_ne_bytes([tcp.data_offset, tcp.flags]);
    let segment_len_be = (packet.segment_len as u16).to_be();
    let mut sum =
        Sum::resume(tcp.checksum).replace16(old, new).replace16(segment_len_be, lengthened(segment_len_be));
    for word in words {
        sum = sum.add(word);
    }
    tcp.checksum = sum.finish();
    frame.write(offset, tcp)
}

#[inline(always)]
fn lengthened(len_be: u16) -> u16 {
    u16::from_be(len_be).wrapping_add(TICKET_LEN as u16).to_be()
}

//! Tickets that the program itself adds: for requests on the quick path, and for the latest one sent again. A filter says what the
//! ticket of its latest request is; `returned` puts another in place of one that came back.

use core::mem::{MaybeUninit, offset_of};

use dispatcher_common::{
    checksum::Sum,
    counter::FrontCounter,
    filter::{Filter, flag},
    limits::{MAX_OPTIONS_BESIDE_TICKET, TICKET_LEN},
    path_state::PathState,
    slow_path::kind,
    syn_options::SynOptions,
    ticket::{self, KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, Ticket, TicketWords},
};
use dispatcher_ebpf::{
    frame::Frame,
    header::{ETHERNET_LEN, Ipv4, Ipv6, Plain, TCP_LEN, Tcp},
    packet::{Family, Packet},
    tcp_options::TcpOptions,
};

use super::{forward, frame, kept, segment::Segment, slow_path, verdict::Verdict};

/// Sends the latest request again with a new ticket, or through the control plane when its options leave no room for one, or when
/// that may be about to undo that the connection was released: a server that is handed it all the same would be forgotten.
#[inline(never)]
pub(super) fn repeat(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let is_hand_off = filter.flags & flag::FURTHER == 0;
    let (kind, slow, counter) = if is_hand_off {
        (kind::RETICKET, FrontCounter::HandoffRepeatedSlow, FrontCounter::HandoffRepeated)
    } else {
        (kind::FURTHER_AGAIN, FrontCounter::FurtherAsked, FrontCounter::FurtherRepeated)
    };
    filter.handoff_ack = segment.packet.ack;
    let has_room = segment.packet.header_len <= TCP_LEN + MAX_OPTIONS_BESIDE_TICKET;
    if !has_room || is_hand_off && filter.flags & flag::ASKED != 0 {
        let verdict = slow_path::hand_over(segment, slow_path::meta_of(segment, filter, kind), slow);
        if !has_room || verdict != slow_path::ABSENT {
            return verdict;
        }
    }
    send(segment, filter, counter)
}

/// Sends a flow's latest request, which has room for its ticket, to the server that has the connection.
#[inline(never)]
pub(super) fn send(segment: &Segment<'_>, filter: &Filter, counter: FrontCounter) -> Verdict {
    match add(segment, filter, PathState::UNKNOWN) {
        Some(frame) => forward::to_server(frame, segment.settings, filter.server, counter),
        None => Verdict::drop(FrontCounter::NoHeadroomDropped),
    }
}

/// Adds the ticket of a flow's latest request to a segment that has room for it.
#[inline(always)]
pub(super) fn add(segment: &Segment<'_>, filter: &Filter, path: PathState) -> Option<Frame> {
    let timestamps = TcpOptions::has_timestamps(segment.frame, segment.packet);
    let mut words = MaybeUninit::uninit();
    seal(segment, filter, timestamps, path, &mut words);
    // SAFETY: `seal` has written it.
    insert(segment, unsafe { words.assume_init() })
}

/// The ticket of a flow's latest request. Not inlined for its stack.
#[inline(never)]
pub(super) fn seal(
    segment: &Segment<'_>,
    filter: &Filter,
    timestamps: bool,
    path: PathState,
    words: &mut MaybeUninit<TicketWords>,
) {
    let packet = segment.packet;
    // Before there is much to keep on the stack meanwhile.
    let now = segment.epoch();
    let (kind, server) = match filter.flags & (flag::FURTHER | flag::MOVING) {
        flag::FURTHER => (KIND_BOOKS, filter.server),
        MOVING => (KIND_MOVE, filter.move_to),
        _ => (KIND_HAND_OFF, filter.server),
    };
    let ticket = Ticket {
        kind,
        options: SynOptions(filter.options),
        priority: filter.priority,
        timestamps,
        followed: kept::is_followed(filter),
        number: filter.number,
        class: filter.class,
        server,
        path,
    };
    let place = ticket::Segment { tuple: &packet.tuple, seq: packet.seq, ack: packet.ack };
    words.write(ticket.seal(&segment.settings.ticket_key, &place, now));
}

/// Flags of a filter whose latest request is for another server.
const MOVING: u8 = flag::FURTHER | flag::MOVING;

/// Puts a ticket straight after the fixed TCP header; the headers before it move towards the head of the frame.
#[inline(always)]
fn insert(segment: &Segment<'_>, words: TicketWords) -> Option<Frame> {
    let packet = segment.packet;
    let frame = frame::grow_head(segment.ctx, TICKET_LEN)?;
    // The link-layer addresses need not move: they are about to be overwritten.
    move_field::<u16>(frame, ETHERNET_LEN - 2)?;
    match packet.family {
        Family::Ipv4 => move_ipv4(frame)?,
        Family::Ipv6 => move_ipv6(frame)?,
    }
    // The ticket comes to lie over where the fixed header was, so last.
    move_tcp(frame, packet, &words)?;
    let [first, second, third, fourth] = words;
    let offset = packet.tcp_offset() + TCP_LEN;
    frame.write(offset, first)?;
    frame.write(offset + 4, second)?;
    frame.write(offset + 8, third)?;
    frame.write(offset + 12, fourth)?;
    Some(frame)
}

#[inline(always)]
fn move_ipv4(frame: Frame) -> Option<()> {
    move_field::<u64>(frame, ETHERNET_LEN)?;
    move_field::<u64>(frame, ETHERNET_LEN + 8)?;
    move_field::<u32>(frame, ETHERNET_LEN + 16)?;
    let old = lengthen(frame, ETHERNET_LEN + offset_of!(Ipv4, total_len_be))?;
    change_checksum(frame, ETHERNET_LEN + offset_of!(Ipv4, checksum), |sum| {
        sum.replace16(old, lengthened(old))
    })
}

#[inline(always)]
fn move_ipv6(frame: Frame) -> Option<()> {
    move_field::<u64>(frame, ETHERNET_LEN)?;
    move_field::<u64>(frame, ETHERNET_LEN + 8)?;
    move_field::<u64>(frame, ETHERNET_LEN + 16)?;
    move_field::<u64>(frame, ETHERNET_LEN + 24)?;
    move_field::<u64>(frame, ETHERNET_LEN + 32)?;
    lengthen(frame, ETHERNET_LEN + offset_of!(Ipv6, payload_len_be)).map(|_| ())
}

#[inline(always)]
fn move_tcp(frame: Frame, packet: &Packet, words: &TicketWords) -> Option<()> {
    let offset = packet.tcp_offset();
    move_field::<u64>(frame, offset)?;
    move_field::<u64>(frame, offset + 8)?;
    move_field::<u32>(frame, offset + 16)?;
    let control = offset + offset_of!(Tcp, data_offset);
    let old = frame.read::<u16>(control)?;
    let new = u16::from_be(old).wrapping_add((TICKET_LEN as u16 / 4) << 12).to_be();
    frame.write(control, new)?;
    let segment_len_be = (packet.segment_len as u16).to_be();
    change_checksum(frame, offset + offset_of!(Tcp, checksum), |sum| {
        let [first, second, third, fourth] = *words;
        let sum = sum.replace16(old, new).replace16(segment_len_be, lengthened(segment_len_be));
        sum.add(first).add(second).add(third).add(fourth)
    })
}

/// Moves what is to lie at an offset.
#[inline(always)]
fn move_field<T: Plain>(frame: Frame, offset: usize) -> Option<()> {
    frame.write(offset, frame.read::<T>(TICKET_LEN + offset)?)
}

/// Adds the ticket to a length; gives the old one.
#[inline(always)]
fn lengthen(frame: Frame, offset: usize) -> Option<u16> {
    let old = frame.read(offset)?;
    frame.write(offset, lengthened(old))?;
    Some(old)
}

#[inline(always)]
fn change_checksum(frame: Frame, offset: usize, change: impl FnOnce(Sum) -> Sum) -> Option<()> {
    frame.write(offset, change(Sum::resume(frame.read(offset)?)).finish())
}

#[inline(always)]
fn lengthened(len_be: u16) -> u16 {
    u16::from_be(len_be).wrapping_add(TICKET_LEN as u16).to_be()
}

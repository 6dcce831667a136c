//! What servers send back: a request with the connection that was released for it, which goes on to the server that its ticket
//! names, and other segments that met a server after that. Those without a ticket look like the client's, and `known` sends them
//! on, unless they come in by an interface of their own ([`without_ticket`]).

use core::mem::{MaybeUninit, offset_of};

use dispatcher_common::{
    checksum::Sum,
    counter::FrontCounter,
    filter::{Filter, flag, state},
    limits::TICKET_LEN,
    per_request::{self, Released},
    ticket::{self, KIND_BOOKS, KIND_MOVE, KIND_RELEASED, Ticket, TicketWords},
};
use dispatcher_ebpf::header::{TCP_LEN, Tcp, tcp_flag};

use super::{forward, maps, segment::Segment, ticket as front_ticket, verdict::Verdict};

const FOREIGN: Verdict = Verdict::drop(FrontCounter::ForeignTicketDropped);

/// A segment whose first option is a ticket. Whoever does not know the secret, such as a client, makes none that is good.
#[inline(never)]
pub(super) fn with_ticket(segment: &Segment<'_>) -> Verdict {
    let packet = segment.packet;
    if packet.header_len < TCP_LEN + TICKET_LEN || packet.has(tcp_flag::SYN) {
        return FOREIGN;
    }
    let Some(words) = read(segment) else { return FOREIGN };
    if !is_genuine(segment, &words) {
        return FOREIGN;
    }
    let ticket = Ticket::read(&words);
    if !matches!(ticket.kind, KIND_BOOKS | KIND_MOVE | KIND_RELEASED) {
        return FOREIGN;
    }
    let Some(filter) = flow(segment) else {
        return Verdict::drop(FrontCounter::ReturnedUnknownDropped);
    };
    match ticket.kind {
        KIND_RELEASED => released(segment, filter, &words, ticket.server),
        _ => send_on(segment, filter),
    }
}

/// A segment without a ticket on an interface by which only servers' segments come; `None` if it is of no flow that a server has.
#[inline(always)]
pub(super) fn without_ticket(segment: &Segment<'_>) -> Option<Verdict> {
    flow(segment).map(|filter| send_on(segment, filter))
}

/// The segment's flow, if a server has it.
#[inline(always)]
fn flow(segment: &Segment<'_>) -> Option<&'static mut Filter> {
    maps::filter(&segment.flow_key())
        .filter(|filter| matches!(filter.state, state::ESTABLISHED | state::CLOSING))
}

#[inline(always)]
fn send_on(segment: &Segment<'_>, filter: &Filter) -> Verdict {
    forward::to_server(segment.frame, segment.settings, filter.server, FrontCounter::ReturnedForwarded)
}

/// A request with its connection: the server that the ticket names has it from now on.
#[inline(always)]
fn released(segment: &Segment<'_>, filter: &mut Filter, words: &TicketWords, server: u16) -> Verdict {
    let packet = segment.packet;
    let released = per_request::released(filter, packet.seq, server);
    if matches!(released, Released::Take | Released::TakeUnsent) {
        filter.server = server;
        filter.flags &= !(flag::FURTHER | flag::MOVING);
        filter.moves = filter.moves.wrapping_add(1);
        filter.handoff_ack = packet.ack;
    }
    if matches!(released, Released::Stale | Released::TakeUnsent) {
        return Verdict::drop(FrontCounter::MoveStaleDropped);
    }
    match hand_off(segment, filter, words) {
        Some(()) => forward::to_server(segment.frame, segment.settings, server, FrontCounter::MoveReleased),
        None => Verdict::drop(FrontCounter::MalformedDropped),
    }
}

/// Puts a hand-off in the ticket's place.
#[inline(always)]
fn hand_off(segment: &Segment<'_>, filter: &Filter, old: &TicketWords) -> Option<()> {
    let mut new = MaybeUninit::uninit();
    let Ticket { timestamps, path, .. } = Ticket::read(old);
    front_ticket::seal(segment, filter, timestamps, path, &mut new);
    // SAFETY: `seal` has written it.
    replace(segment, old, unsafe { new.assume_init_ref() })
}

#[inline(always)]
fn replace(segment: &Segment<'_>, old: &TicketWords, new: &TicketWords) -> Option<()> {
    let Segment { packet, frame, .. } = *segment;
    let start = packet.tcp_offset();
    let checksum = start + offset_of!(Tcp, checksum);
    let mut sum = Sum::resume(frame.read(checksum)?);
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        sum = sum.replace(*old, *new);
        frame.write(start + TCP_LEN + 4 * index, *new)?;
    }
    frame.write(checksum, sum.finish())
}

#[inline(always)]
fn read(segment: &Segment<'_>) -> Option<TicketWords> {
    let Segment { packet, frame, .. } = *segment;
    let start = packet.tcp_offset() + TCP_LEN;
    Some([frame.read(start)?, frame.read(start + 4)?, frame.read(start + 8)?, frame.read(start + 12)?])
}

/// Whether the ticket was made with our secret, lately and for this segment. Not inlined for its stack.
#[inline(never)]
fn is_genuine(segment: &Segment<'_>, words: &TicketWords) -> bool {
    let packet = segment.packet;
    let place = ticket::Segment { tuple: &packet.tuple, seq: packet.seq, ack: packet.ack };
    Ticket::check(words, &segment.settings.ticket_key, &place, segment.epoch()).is_ok()
}

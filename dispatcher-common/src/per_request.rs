//! Every request of a connection to the right server: the decisions that keep it safe, shared by the programs and by the model
//! that tests them. How it works is told in `docs/per-request.md`.
//!
//! The front-end follows a connection from request to request: it knows at which sequence number the next one may start. A
//! request there that belongs to another server goes to the one that has the connection, with a move ticket. Only that server
//! can tell whether the connection is *free*: whether all responses are complete, by their own framing, and acknowledged, and
//! nothing is unread. Then it retires its socket, and only once the socket is gone does it send the request back, *released*, to
//! the front-end, which hands it to the new server like a first request. So at no moment can two servers send, and whatever is
//! lost, the client's repetition of the request goes the same way again.

use crate::{
    filter::{Filter, flag},
    server::{ServerFlow, framing, phase},
};

/// Whether a sequence number is after another (RFC 9293 section 3.4).
#[inline(always)]
#[must_use]
pub const fn is_after(number: u32, other: u32) -> bool {
    (number.wrapping_sub(other) as i32) > 0
}

/// What data of a client is to a flow that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing new about requests: a body, a repetition, or a flow that is not followed.
    Plain,
    /// The next request starts here.
    Request,
    /// The request that is with the slow path, again.
    Again,
    /// It goes on behind a request that is with the slow path.
    Behind,
    /// The next request starts in its middle, or did so before: the flow cannot be followed any more.
    Straddles,
}

/// What data from `seq` to before `end`, not empty, is to a flow.
#[inline(always)]
#[must_use]
pub const fn data_of(filter: &Filter, seq: u32, end: u32) -> Data {
    if filter.flags & (flag::FOLLOWED | flag::ASKED) == 0 || !is_after(end, filter.boundary) {
        return Data::Plain;
    }
    let starts_there = seq == filter.boundary;
    if filter.flags & flag::ASKED != 0 {
        return if starts_there { Data::Again } else { Data::Behind };
    }
    // What was seen before cannot start anything.
    if starts_there && !is_after(filter.next_seq, seq) { Data::Request } else { Data::Straddles }
}

/// Whether the latest request that was sent with a ticket needs it no more, so that a further one may have the next ticket.
///
/// Until the client has the first of its response, its repetition must go with a ticket again, and its release, if it moves, is still
/// to be known. What begins before is sent without a ticket to the server that has the connection, and is answered behind it.
#[inline(always)]
#[must_use]
pub const fn is_settled(filter: &Filter) -> bool {
    filter.flags & flag::RESPONDED != 0
}

/// Whether data at `seq` is the latest request with a ticket again, which has no response yet and so may never have arrived.
///
/// A hand-off goes again only with the acknowledgement that it had: a server that missed it would begin at another place.
#[inline(always)]
#[must_use]
pub const fn needs_ticket(filter: &Filter, seq: u32, ack: u32) -> bool {
    !is_settled(filter)
        && seq == filter.handoff_seq
        && (filter.flags & flag::FURTHER != 0 || ack == filter.handoff_ack)
}

/// For how long a request is in its server's load: an interval of reports, in nanoseconds.
const COUNTED_NS: u64 = 100_000_000;

/// Whether the latest request with a ticket, which is answered, still counts in its server's load. Then a further one at the same
/// server takes its place: else a connection that asks again and again would count as if all its requests were there at once.
#[inline(always)]
#[must_use]
pub const fn is_counted(filter: &Filter, now_ns: u64) -> bool {
    now_ns.wrapping_sub(filter.request_ns) < COUNTED_NS
}

/// What becomes of a request that a server has released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The server that the move ticket named has the connection from now on, and is handed this request.
    Take,
    /// The same, but the request is not sent on: the slow path has a request of the flow, and may be about to write a filter that
    /// it read before. Then that server does not know of the connection yet, and the client's repetition goes the whole way again.
    TakeUnsent,
    /// It was handed over before, and may not have arrived: hand it over again.
    Again,
    /// Not the latest request of the flow, or answered already.
    Stale,
}

/// What becomes of a request at `seq` that was released for `server`.
///
/// Only the latest request with a ticket counts, as long as it has no response, and only for the server that its ticket named: of a
/// books ticket the one that has the connection, which released it when an earlier ticket of the same request told it to.
#[inline(always)]
#[must_use]
pub const fn released(filter: &Filter, seq: u32, server: u16) -> Released {
    if filter.handoff_seq != seq || filter.flags & flag::RESPONDED != 0 {
        return Released::Stale;
    }
    let named = if filter.flags & flag::MOVING != 0 { filter.move_to } else { filter.server };
    if named != server {
        return Released::Stale;
    }
    match (filter.flags & flag::FURTHER != 0, filter.flags & flag::ASKED != 0) {
        (true, false) => Released::Take,
        (true, true) => Released::TakeUnsent,
        (false, false) => Released::Again,
        (false, true) => Released::Stale,
    }
}

/// Whether the slow path may write a flow's filter. It does so whole, some time after it has read it, and what the program has noted in
/// between is undone: a request that it has dispatched, or a release that it has taken, would be lost for good. So at any time one of
/// the two writes: the slow path while it has a request of the flow, when the program starts nothing and sends no released request
/// on; the program from then on, until the flow is opaque and nothing moves, or if nothing is left to it: `is_last` says that the
/// client's stream ends where a request could start, or that the slow path itself has the one that starts there, for a ticket.
#[inline(always)]
#[must_use]
pub const fn may_write(filter: &Filter, is_last: bool) -> bool {
    if filter.flags & flag::ASKED != 0 {
        return true;
    }
    let may_dispatch = filter.flags & flag::FOLLOWED != 0 && !is_last;
    let may_leave = filter.flags & flag::MOVING != 0 && !is_settled(filter);
    !may_dispatch && !may_leave
}

/// What a server's kernel says of its socket for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// In state ESTABLISHED: neither side has closed.
    pub is_established: bool,
    /// The next byte that is expected.
    pub rcv_nxt: u32,
    /// The next byte that the server's software will read.
    pub copied_seq: u32,
    /// Where the next byte that the server's software writes will be.
    pub write_seq: u32,
    /// Whether there is nothing beyond `rcv_nxt`.
    pub nothing_ahead: bool,
}

/// Whether a connection is free to go with a request of this number, at `seq` and acknowledging `ack`.
///
/// All requests before it are answered, and the last response ends exactly where the software has stopped writing, which the
/// client has acknowledged. So nothing is on its way in either direction, and nothing will be.
#[inline(always)]
#[must_use]
pub const fn is_free(flow: &ServerFlow, socket: &Socket, number: u8, seq: u32, ack: u32) -> bool {
    flow.phase == phase::ANSWERED
        && flow.framing == framing::HEAD
        && flow.answered == number
        && flow.next_at == socket.write_seq
        && socket.is_established
        && socket.write_seq == ack
        && socket.rcv_nxt == seq
        && socket.copied_seq == seq
        && socket.nothing_ahead
}

/// Whether a segment is the one for which a connection was released, or is to be: only with the same acknowledgement may it be
/// handed over, or the next server would go on at the wrong place.
#[inline(always)]
#[must_use]
pub const fn is_release(flow: &ServerFlow, seq: u32, ack: u32) -> bool {
    flow.release_seq == seq && flow.next_at == ack
}

/// Whether a hand-off at `seq` was here before, and the connection went on since.
#[inline(always)]
#[must_use]
pub const fn was_here(flow: &ServerFlow, seq: u32) -> bool {
    let [a, b, c, d] = flow.earlier;
    seq == a || seq == b || seq == c || seq == d
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQ: u32 = 700;
    const ACK: u32 = 90;

    /// The filter of a flow at server 1 whose latest request was sent with a move ticket to server 2.
    fn moving() -> Filter {
        Filter {
            server: 1,
            move_to: 2,
            handoff_seq: SEQ,
            handoff_ack: ACK,
            flags: flag::FOLLOWED | flag::FURTHER | flag::MOVING,
            ..Filter::default()
        }
    }

    fn with_flags(flags: u8) -> Filter {
        Filter { flags, ..moving() }
    }

    #[test]
    fn a_request_is_released_to_the_server_that_its_latest_ticket_named() {
        assert_eq!(released(&moving(), SEQ, 2), Released::Take);
        assert_eq!(released(&moving(), SEQ, 1), Released::Stale);
        assert_eq!(released(&moving(), SEQ + 1, 2), Released::Stale);
        let booked = with_flags(flag::FOLLOWED | flag::FURTHER);
        assert_eq!(released(&booked, SEQ, 1), Released::Take);
        assert_eq!(released(&booked, SEQ, 2), Released::Stale);
    }

    #[test]
    fn what_was_handed_over_is_handed_over_again_until_it_is_answered() {
        let handed_over = with_flags(flag::FOLLOWED);
        assert_eq!(released(&handed_over, SEQ, 1), Released::Again);
        assert_eq!(released(&with_flags(flag::FOLLOWED | flag::RESPONDED), SEQ, 1), Released::Stale);
        assert_eq!(released(&with_flags(moving().flags | flag::RESPONDED), SEQ, 2), Released::Stale);
    }

    #[test]
    fn nothing_is_sent_on_while_the_slow_path_is_about_to_write() {
        let asked = flag::ASKED | flag::FURTHER | flag::MOVING;
        assert_eq!(released(&with_flags(asked), SEQ, 2), Released::TakeUnsent);
        assert_eq!(released(&with_flags(flag::ASKED), SEQ, 1), Released::Stale);
    }

    #[test]
    fn the_slow_path_writes_while_the_program_waits_for_it_or_has_nothing_to_do() {
        let may = |flags, is_last| may_write(&with_flags(flags), is_last);
        let moving = flag::FURTHER | flag::MOVING;
        assert!(may(flag::ASKED, false) && may(flag::ASKED | moving, false));
        assert!(!may(flag::FOLLOWED, false), "it may dispatch the next request");
        assert!(!may(flag::FOLLOWED | moving | flag::RESPONDED, false));
        assert!(may(flag::FOLLOWED, true) && may(flag::FOLLOWED | moving | flag::RESPONDED, true));
        assert!(!may(moving, false) && !may(moving | flag::FOLLOWED, true), "it may take a release");
        assert!(may(moving | flag::RESPONDED, false) && may(flag::FURTHER, false) && may(0, false));
    }

    #[test]
    fn a_repetition_needs_its_ticket_until_the_client_has_a_response() {
        assert!(needs_ticket(&moving(), SEQ, ACK));
        assert!(needs_ticket(&moving(), SEQ, ACK - 1));
        assert!(!needs_ticket(&moving(), SEQ + 1, ACK));
        assert!(!needs_ticket(&with_flags(moving().flags | flag::RESPONDED), SEQ, ACK));
        let handed_over = with_flags(flag::FOLLOWED);
        assert!(needs_ticket(&handed_over, SEQ, ACK));
        assert!(!needs_ticket(&handed_over, SEQ, ACK - 1));
    }

    #[test]
    fn data_starts_a_request_only_at_the_boundary_and_only_once() {
        let filter = Filter { boundary: 4, next_seq: 4, ..with_flags(flag::FOLLOWED) };
        assert_eq!(data_of(&filter, 4, 9), Data::Request);
        assert_eq!(data_of(&filter, u32::MAX - 3, 4), Data::Plain);
        assert_eq!(data_of(&filter, u32::MAX - 3, 9), Data::Straddles);
        assert_eq!(data_of(&filter, 6, 9), Data::Straddles);
        assert_eq!(data_of(&Filter { next_seq: 9, ..filter }, 4, 9), Data::Straddles);
        let asked = Filter { flags: flag::ASKED, ..filter };
        assert_eq!(data_of(&asked, 4, 9), Data::Again);
        assert_eq!(data_of(&asked, 9, 12), Data::Behind);
        assert_eq!(data_of(&with_flags(0), 4, 9), Data::Plain);
    }
}

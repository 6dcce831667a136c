//! Following a flow from request to request in its filter: what data says of the requests on it, and where the next one may
//! start. What becomes of a request is decided elsewhere; the decisions that the kernel's program makes, too, are `per_request`'s.

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request::{Data, data_of, is_after},
};
use dispatcher_core::http::{Course, Unclear};

use crate::front::{
    dispatch::Onward,
    slow_path::frame::{Frame, flags},
};

/// Whether the front-end knows where the flow's next request starts.
pub(super) fn is_followed(filter: &Filter) -> bool {
    filter.flags & (flag::FOLLOWED | flag::ASKED) != 0
}

/// Notes where the next request may start, as told by data at `seq`.
pub(super) fn set_next(filter: &mut Filter, seq: u32, next: Result<u32, Unclear>) {
    match next {
        Ok(offset) => {
            filter.flags = filter.flags & !flag::ASKED | flag::FOLLOWED;
            filter.boundary = seq.wrapping_add(offset);
        }
        Err(reason) => stop(filter, reason.code()),
    }
}

/// The flow stays where it is from now on, for one of [`opaque`]'s reasons.
fn stop(filter: &mut Filter, reason: u8) {
    filter.flags &= !(flag::ASKED | flag::FOLLOWED);
    filter.opaque = reason;
}

/// Notes data of a flow that is followed, which goes to the server without a ticket. Gives how many requests begin in it; one that
/// is with the slow path is not noted here.
pub(super) fn note_data(filter: &mut Filter, frame: &Frame, payload: &[u8], head_limit: usize) -> u32 {
    match data_of(filter, frame.seq, end_of(frame)) {
        Data::Request => {
            let course = Course::read(payload, head_limit);
            set_next(filter, frame.seq, course.next);
            course.requests
        }
        Data::Straddles => {
            stop(filter, opaque::STRADDLED);
            0
        }
        Data::Plain | Data::Again | Data::Behind => 0,
    }
}

/// Whether a segment starts the request that the flow is to go on with, or that one again.
pub(super) fn starts_request(filter: &Filter, frame: &Frame) -> bool {
    frame.payload_len() > 0
        && matches!(data_of(filter, frame.seq, end_of(frame)), Data::Request | Data::Again)
}

/// Whether no request can start at the boundary, because the client's stream ends there.
pub(super) fn ends_there(filter: &Filter, frame: &Frame) -> bool {
    frame.has(flags::RST) || frame.has(flags::FIN) && end_of(frame) == filter.boundary
}

/// Notes how far the client's data reaches.
pub(super) fn note_end(filter: &mut Filter, frame: &Frame) {
    let end = end_of(frame);
    if is_after(end, filter.next_seq) {
        filter.next_seq = end;
    }
}

/// Sequence number after a segment's data.
fn end_of(frame: &Frame) -> u32 {
    frame.seq.wrapping_add(frame.payload_len() as u32)
}

/// The filter once a further request is sent with its ticket.
pub(super) fn onward(
    before: &Filter,
    frame: &Frame,
    onward: &Onward,
    course: &Course,
    now_ns: u64,
) -> Filter {
    let is_moving = onward.server != before.server;
    let was_moving = before.flags & flag::MOVING != 0;
    let closes = frame.has(flags::FIN) && before.state == state::ESTABLISHED;
    let kept = before.flags & !(flag::RESPONDED | flag::MOVING);
    let mut after = Filter {
        class: onward.class,
        priority: onward.priority,
        handoff_seq: frame.seq,
        handoff_ack: frame.ack,
        number: before.requests as u8,
        // Whatever it is: it is in the server's books.
        requests: before.requests.wrapping_add(course.requests.max(1)),
        request_ns: now_ns,
        request_ack: frame.ack,
        response_ns: 0,
        flags: kept | flag::FURTHER | if is_moving { flag::MOVING } else { 0 },
        move_to: if is_moving { onward.server } else { before.move_to },
        // It is answered by the server that has the connection, or the client would not have gone on.
        kept_busy: before.kept_busy.wrapping_add(was_moving.into()),
        state: if closes { state::CLOSING } else { before.state },
        ..*before
    };
    set_next(&mut after, frame.seq, course.next);
    note_end(&mut after, frame);
    after
}

//! Data of flows that are followed from request to request: where the next request starts, it is dispatched by the class cache or
//! given to the slow path, and everything else goes to the server that has the connection. What a segment is to a flow is
//! `dispatcher_common::per_request`'s decision. `returned` has what servers send back, `kept` the flows that are not followed.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, flag, opaque},
    per_request::{self, Data},
    service,
    slow_path::kind,
};

use super::{
    choice, class_cache, clock, forward, frame, kept, known, maps,
    quick::{self, Request},
    segment::Segment,
    slow_path, ticket,
    verdict::Verdict,
};

/// Sends data on. The client's acknowledgement is noted by now.
#[inline(never)]
pub(super) fn data(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let packet = segment.packet;
    let data = per_request::data_of(filter, packet.seq, kept::end(packet));
    if data == Data::Straddles {
        follow_no_more(filter, opaque::STRADDLED, FrontCounter::OpaqueStraddled);
    }
    if known::is_repeated(packet, filter) {
        return ticket::repeat(segment, filter);
    }
    match data {
        Data::Request => request(segment, filter),
        Data::Again => give(segment, filter, kind::FURTHER, FrontCounter::FurtherAsked),
        Data::Behind => give(segment, filter, kind::BEHIND, FrontCounter::FurtherBehind),
        Data::Plain | Data::Straddles => {
            note_plain(segment, filter);
            send(segment, filter, FrontCounter::Forwarded)
        }
    }
}

/// What does not start a request. Requests of flows that are not followed any more are seen by `kept`.
#[inline(always)]
fn note_plain(segment: &Segment<'_>, filter: &mut Filter) {
    if kept::is_followed(filter) {
        kept::note_end(segment.packet, filter);
    } else {
        kept::note_data(segment, filter, clock::now_ns());
    }
}

/// The next request. Only one whose head is the whole segment is dispatched here, so that it is known where the one after starts.
#[inline(always)]
fn request(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    if segment.service.flags & service::flag::QUICK != 0 && quick::is_plain(segment) {
        if filter.flags & flag::RESPONDED == 0 {
            if let Some(verdict) = send_pipelined(segment, filter) {
                return verdict;
            }
        } else if let Some(counter) = dispatch(segment, filter) {
            return ticket::send(segment, filter, counter);
        }
    }
    give(segment, filter, kind::FURTHER, FrontCounter::FurtherAsked)
}

/// Sends a request behind one that has no response yet. It gets no ticket, because the repetition of the one before still needs
/// one; and it could not move, because no server answers it before that one.
#[inline(never)]
fn send_pipelined(segment: &Segment<'_>, filter: &mut Filter) -> Option<Verdict> {
    class_cache::look_up(segment)?;
    pass_boundary(segment, filter);
    maps::count_kept_request(filter.server);
    Some(send(segment, filter, FrontCounter::FurtherPipelined))
}

/// Decides where a request is answered, and makes it the latest one with a ticket; gives what it is counted as.
#[inline(never)]
fn dispatch(segment: &Segment<'_>, filter: &mut Filter) -> Option<FrontCounter> {
    let request = quick::decide(segment)?;
    choice::note(segment, &request.cached, &request.chosen, filter.priority, choice::FURTHER);
    Some(note_dispatch(segment, filter, request))
}

#[inline(always)]
fn note_dispatch(segment: &Segment<'_>, filter: &mut Filter, request: &Request) -> FrontCounter {
    let packet = segment.packet;
    if filter.flags & flag::MOVING != 0 {
        // Nobody released the connection for the one before, which has a response now.
        filter.kept_busy = filter.kept_busy.wrapping_add(1);
        maps::count(FrontCounter::MoveKeptBusy.index());
    }
    let stays = request.chosen.server == filter.server;
    let flags = filter.flags & !(flag::RESPONDED | flag::MOVING) | flag::FURTHER;
    filter.flags = if stays { flags } else { flags | flag::MOVING };
    filter.move_to = request.chosen.server;
    filter.class = request.cached.class;
    filter.number = filter.requests as u8;
    filter.handoff_seq = packet.seq;
    filter.handoff_ack = packet.ack;
    filter.request_ns = clock::now_ns();
    filter.request_ack = packet.ack;
    filter.response_ns = 0;
    pass_boundary(segment, filter);
    if stays { FrontCounter::FurtherStayed } else { FrontCounter::FurtherMoving }
}

/// Counts the request that the segment is; the next one starts behind it.
#[inline(always)]
fn pass_boundary(segment: &Segment<'_>, filter: &mut Filter) {
    filter.requests = filter.requests.wrapping_add(1);
    filter.boundary = kept::end(segment.packet);
    kept::note_end(segment.packet, filter);
}

/// Gives a segment to the slow path. What is not sent yet is not noted.
#[inline(never)]
fn give(segment: &Segment<'_>, filter: &mut Filter, kind: u8, counter: FrontCounter) -> Verdict {
    let verdict = slow_path::hand_over(segment, slow_path::meta_of(segment, filter, kind), counter);
    if verdict == Verdict::redirect(counter) {
        filter.flags = filter.flags & !flag::FOLLOWED | flag::ASKED;
        return verdict;
    }
    if verdict != Verdict::drop(FrontCounter::SlowPathAbsentDropped) {
        return verdict;
    }
    follow_no_more(filter, opaque::UNHEARD, FrontCounter::OpaqueUnheard);
    kept::note_data(segment, filter, clock::now_ns());
    send(segment, filter, FrontCounter::FurtherUnheard)
}

/// The flow stays where it is from now on.
#[inline(always)]
fn follow_no_more(filter: &mut Filter, reason: u8, counter: FrontCounter) {
    filter.flags &= !(flag::FOLLOWED | flag::ASKED);
    filter.opaque = reason;
    maps::count(counter.index());
}

/// Sends the segment as it is to the server that has the connection.
#[inline(always)]
fn send(segment: &Segment<'_>, filter: &Filter, counter: FrontCounter) -> Verdict {
    forward::to_server(frame::of(segment.ctx), segment.settings, filter.server, counter)
}

//! Data of flows that are followed from request to request: where the next request starts, it is dispatched by the class cache or
//! given to the slow path, and everything else goes to the server that has the connection. What a segment is to a flow is
//! `dispatcher_common::per_request`'s decision. `returned` has what servers send back, `kept` the flows that are not followed.

use dispatcher_common::{
    choice::further,
    counter::FrontCounter,
    filter::{Filter, flag, opaque},
    per_request::{self, Data},
    service,
    slow_path::kind,
};

use super::{
    choice, class_cache, clock, forward, frame, kept, maps, member, quick, segment::Segment, slow_path,
    ticket, verdict::Verdict,
};

/// Sends data on. The client's acknowledgement is noted by now.
#[inline(never)]
pub(super) fn data(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let packet = segment.packet;
    let data = per_request::data_of(filter, packet.seq, kept::end(packet));
    if data == Data::Straddles {
        follow_no_more(filter, opaque::STRADDLED, FrontCounter::OpaqueStraddled);
    }
    if per_request::needs_ticket(filter, packet.seq, packet.ack) {
        return ticket::repeat(segment, filter);
    }
    match data {
        Data::Request => request(segment, filter),
        Data::Again => ask(segment, filter),
        Data::Behind => behind(segment, filter),
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

/// Flags of a service whose further requests may be dispatched here.
const BY_CLASS_CACHE: u8 = service::flag::QUICK | service::flag::PER_REQUEST;

/// The next request. Only one whose head is the whole segment is dispatched here, so that it is known where the one after starts;
/// and one for which other rules hold by now changes its flow's priority, which the slow path does.
#[inline(always)]
fn request(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    if segment.service.flags & BY_CLASS_CACHE == BY_CLASS_CACHE && quick::is_plain(segment) {
        if !per_request::is_settled(filter) {
            if let Some(verdict) = send_pipelined(segment, filter) {
                return verdict;
            }
        } else if member::ceiling(segment) == filter.priority
            && let Some(counter) = dispatch(segment, filter)
        {
            return ticket::send(segment, filter, counter);
        }
    }
    ask(segment, filter)
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
    let stays = request.chosen.server == filter.server;
    let in_place = stays && per_request::is_counted(filter, clock::now_ns());
    let further = if in_place { further::IN_PLACE } else { further::ADDED };
    choice::note(segment, &request.cached, &request.chosen, filter.priority, further);
    filter.class = request.cached.class;
    take_ticket(segment, filter, request.chosen.server);
    pass_boundary(segment, filter);
    Some(if stays { FrontCounter::FurtherStayed } else { FrontCounter::FurtherMoving })
}

/// Makes the request, which is not counted yet, the latest one with a ticket; `server` is to answer it.
#[inline(always)]
fn take_ticket(segment: &Segment<'_>, filter: &mut Filter, server: u16) {
    let packet = segment.packet;
    if filter.flags & flag::MOVING != 0 {
        // Nobody released the connection for the one before, which has a response now.
        filter.kept_busy = filter.kept_busy.wrapping_add(1);
        maps::count(FrontCounter::MoveKeptBusy.index());
    }
    let flags = filter.flags & !(flag::RESPONDED | flag::MOVING) | flag::FURTHER;
    filter.flags = if server == filter.server { flags } else { flags | flag::MOVING };
    filter.move_to = server;
    filter.number = filter.requests as u8;
    filter.handoff_seq = packet.seq;
    filter.handoff_ack = packet.ack;
    filter.request_ns = clock::now_ns();
    filter.request_ack = packet.ack;
    filter.response_ns = 0;
}

/// Counts the request that the segment is; the next one starts behind it.
#[inline(always)]
fn pass_boundary(segment: &Segment<'_>, filter: &mut Filter) {
    filter.requests = filter.requests.wrapping_add(1);
    filter.boundary = kept::end(segment.packet);
    kept::note_end(segment.packet, filter);
}

/// Gives a request to the slow path, or sends it on if nobody listens.
#[inline(never)]
fn ask(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let verdict = give(segment, filter, kind::FURTHER, FrontCounter::FurtherAsked);
    if verdict == slow_path::ABSENT {
        return unheard(segment, filter);
    }
    if verdict == Verdict::redirect(FrontCounter::FurtherAsked) {
        filter.flags = filter.flags & !flag::FOLLOWED | flag::ASKED;
    }
    verdict
}

/// Gives data behind such a request to the slow path, too. If nobody listens it goes on, but the request before it, which was
/// perhaps lost there, is still waited for: its repetition may need a ticket.
#[inline(never)]
fn behind(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let verdict = give(segment, filter, kind::BEHIND, FrontCounter::FurtherBehind);
    if verdict != slow_path::ABSENT {
        return verdict;
    }
    kept::note_end(segment.packet, filter);
    send(segment, filter, FrontCounter::FurtherUnheard)
}

/// What is not sent yet is not noted.
#[inline(always)]
fn give(segment: &Segment<'_>, filter: &Filter, kind: u8, counter: FrontCounter) -> Verdict {
    slow_path::hand_over(segment, slow_path::meta_of(segment, filter, kind), counter)
}

/// Sends a request to the server that has the connection, where it stays. The ticket is for a server that has released the
/// connection for this very request, which a slow path told it that is no more.
#[inline(always)]
fn unheard(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    follow_no_more(filter, opaque::UNHEARD, FrontCounter::OpaqueUnheard);
    if !per_request::is_settled(filter) || !quick::is_plain(segment) {
        kept::note_data(segment, filter, clock::now_ns());
        return send(segment, filter, FrontCounter::FurtherUnheard);
    }
    take_ticket(segment, filter, filter.server);
    filter.requests = filter.requests.wrapping_add(1);
    kept::note_end(segment.packet, filter);
    maps::count_kept_request(filter.server);
    ticket::send(segment, filter, FrontCounter::FurtherUnheard)
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

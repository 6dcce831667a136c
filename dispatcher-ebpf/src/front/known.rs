//! Segments of flows that have a filter. An established flow is the hot path: two compares and a flags test away from
//! forwarding. Data of flows that are followed is `further`'s.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    per_request,
    slow_path::kind,
};
use dispatcher_ebpf::header::tcp_flag;

use super::{
    clock, forward, further, kept, maps, open, reply, segment::Segment, slow_path, ticket, verdict::Verdict,
};

#[inline(always)]
pub(super) fn segment(segment: &Segment<'_>, key: &FlowKey, filter: &mut Filter) -> Verdict {
    let now_ns = clock::now_ns();
    filter.last_seen_ns = now_ns;
    filter.packets += 1;
    filter.bytes += segment.frame.len_bytes() as u64;
    match filter.state {
        state::ESTABLISHED | state::CLOSING => established(segment, filter, now_ns),
        state::PENDING => pending(segment, filter),
        _ => answered(segment, key),
    }
}

#[inline(always)]
fn established(segment: &Segment<'_>, filter: &mut Filter, now_ns: u64) -> Verdict {
    let packet = segment.packet;
    kept::note_ack(segment, filter, now_ns);
    if let Some(verdict) = kept::refuse(segment, filter) {
        return verdict;
    }
    if packet.flags & (tcp_flag::FIN | tcp_flag::RST) != 0 {
        close(segment, filter);
    }
    if packet.payload_len() != 0 {
        if kept::is_followed(filter) {
            return further::data(segment, filter);
        }
        if per_request::needs_ticket(filter, packet.seq, packet.ack) {
            return ticket::repeat(segment, filter);
        }
        kept::note_data(segment, filter, now_ns);
    }
    forward::to_server(segment.frame, segment.settings, filter.server, FrontCounter::Forwarded)
}

/// The client ends the flow, which counts as open no longer.
#[inline(never)]
fn close(segment: &Segment<'_>, filter: &mut Filter) {
    let priority = filter.priority;
    if maps::close_filter(filter) {
        open::count_closed(segment, priority);
    }
}

#[inline(never)]
fn pending(segment: &Segment<'_>, filter: &mut Filter) -> Verdict {
    let packet = segment.packet;
    let has_data = packet.payload_len() != 0;
    // A server may answer before its filter is written: an ACK of that must not be lost, or the rest of a long response waits
    // for a retransmission.
    let says_nothing = !has_data && packet.ack == filter.handoff_ack;
    if says_nothing && packet.flags & (tcp_flag::FIN | tcp_flag::RST) == 0 {
        return Verdict::drop(FrontCounter::PendingAckDropped);
    }
    if packet.has(tcp_flag::ACK) && per_request::is_after(packet.ack, filter.last_ack) {
        // For the slow path, which takes it along when it writes the filter; afterwards that is not its to write.
        filter.last_ack = packet.ack;
    }
    let (kind, counter) = if has_data && packet.seq == filter.handoff_seq {
        (kind::AGAIN, FrontCounter::RequestAgain)
    } else {
        (kind::LATER, FrontCounter::RequestLater)
    };
    slow_path::hand_over(segment, slow_path::meta(segment, kind, filter.options), counter)
}

/// We answered in the server's place; nobody else knows this flow.
#[inline(never)]
fn answered(segment: &Segment<'_>, key: &FlowKey) -> Verdict {
    let packet = segment.packet;
    if packet.has(tcp_flag::RST) {
        maps::remove_filter(key);
        return Verdict::drop(FrontCounter::AnsweredDropped);
    }
    if packet.has(tcp_flag::FIN | tcp_flag::ACK) {
        return reply::reset(segment, FrontCounter::AnsweredReset);
    }
    Verdict::drop(FrontCounter::AnsweredDropped)
}

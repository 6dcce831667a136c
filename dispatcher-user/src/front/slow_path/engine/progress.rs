//! What a segment says of its flow, noted in the flow's filter as the kernel's program does for those that it forwards itself
//! (its `kept` module): what the client acknowledges, and requests that begin. Segments that come while their filter is pending
//! pass by here; were they not noted, a RST would not be where their client must believe it.

use std::time::Duration;

use dispatcher_common::{
    filter::{Filter, flag},
    per_request::is_after,
};

use super::following::{self, is_followed};
use crate::front::slow_path::frame::{Frame, flags};

/// Notes a segment. Gives how long a request has waited, if the client has the first of its response.
pub(super) fn note(
    filter: &mut Filter,
    frame: &Frame,
    payload: &[u8],
    head_limit: usize,
    now_ns: u64,
) -> Option<Duration> {
    filter.last_seen_ns = now_ns;
    filter.packets += 1;
    filter.bytes += frame.end as u64;
    let wait = note_ack(filter, frame, now_ns);
    if !payload.is_empty() {
        note_data(filter, frame, payload, head_limit, now_ns);
    }
    wait
}

/// A filter with what a frame acknowledges, and how long a request has waited, if the client has the first of its response.
pub(super) fn with_ack(mut filter: Filter, frame: &Frame, now_ns: u64) -> (Filter, Option<Duration>) {
    let wait = note_ack(&mut filter, frame, now_ns);
    (filter, wait)
}

/// Notes what the client acknowledges; the kernel's program may have noted a later one meanwhile. Gives how long a request has
/// waited, if this is the first of its response.
fn note_ack(filter: &mut Filter, frame: &Frame, now_ns: u64) -> Option<Duration> {
    if !frame.has(flags::ACK) {
        return None;
    }
    take(filter, frame.ack, now_ns)
}

/// The same of what the kernel's program has noted in the flow's pending filter.
pub(super) fn take_ack(filter: &mut Filter, pending: &Filter) -> Option<Duration> {
    if filter.handoff_seq != pending.handoff_seq {
        return None;
    }
    take(filter, pending.last_ack, pending.last_seen_ns)
}

fn take(filter: &mut Filter, ack: u32, now_ns: u64) -> Option<Duration> {
    if is_after(ack, filter.last_ack) {
        filter.last_ack = ack;
    }
    if filter.response_ns != 0 || !is_after(ack, filter.request_ack) {
        return None;
    }
    filter.response_ns = now_ns;
    filter.flags |= flag::RESPONDED;
    Some(Duration::from_nanos(now_ns.saturating_sub(filter.request_ns)))
}

/// Notes data that goes to the server without a ticket.
pub(super) fn note_data(filter: &mut Filter, frame: &Frame, payload: &[u8], head_limit: usize, now_ns: u64) {
    let responded = filter.response_ns != 0 && is_after(frame.ack, filter.request_ack);
    let begun = if is_followed(filter) {
        following::note_data(filter, frame, payload, head_limit)
    } else {
        // By numbers of TCP alone: it was not there before, and the response to the one before has begun to arrive.
        u32::from(responded && !is_after(filter.next_seq, frame.seq))
    };
    if begun > 0 && responded {
        filter.request_ns = now_ns;
        filter.request_ack = frame.ack;
        filter.response_ns = 0;
    }
    filter.requests = filter.requests.wrapping_add(begun);
    following::note_end(filter, frame);
}

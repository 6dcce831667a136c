//! What a segment says of its flow, noted in the flow's filter as the kernel's program does for those that it forwards itself
//! (its `kept` module): what the client acknowledges, and requests that begin. Segments that come while their filter is pending
//! pass by here; were they not noted, a RST would not be where their client must believe it.

use std::time::Duration;

use dispatcher_common::filter::{Filter, flag};

use crate::front::slow_path::frame::{Frame, flags};

/// Whether a sequence number is after another (RFC 9293 section 3.4).
fn is_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed() > 0
}

/// Notes a segment. Gives how long a request has waited, if the client has the first of its response.
pub(super) fn note(filter: &mut Filter, frame: &Frame, now_ns: u64) -> Option<Duration> {
    filter.last_seen_ns = now_ns;
    filter.packets += 1;
    filter.bytes += frame.end as u64;
    let wait = if frame.has(flags::ACK) { note_ack(filter, frame.ack, now_ns) } else { None };
    if frame.payload_len() > 0 {
        note_data(filter, frame, now_ns);
    }
    wait
}

/// The kernel's program may have noted a later one meanwhile.
fn note_ack(filter: &mut Filter, ack: u32, now_ns: u64) -> Option<Duration> {
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

fn note_data(filter: &mut Filter, frame: &Frame, now_ns: u64) {
    let is_new = !is_after(filter.next_seq, frame.seq);
    if filter.response_ns != 0 && is_after(frame.ack, filter.request_ack) && is_new {
        filter.request_ns = now_ns;
        filter.request_ack = frame.ack;
        filter.response_ns = 0;
        filter.requests = filter.requests.wrapping_add(1);
    }
    let end = frame.seq.wrapping_add(frame.payload_len() as u32);
    if is_after(end, filter.next_seq) {
        filter.next_seq = end;
    }
}

//! Requests on kept connections: seeing one begin, judging it while its service is overloaded, and seeing its response arrive.
//! All from numbers of TCP: responses do not come by here, and what was asked only `further` knows, of flows that are followed.

use dispatcher_common::{
    admission::way,
    counter::FrontCounter,
    filter::{Filter, flag, state},
    per_request::{self, Data, is_after},
    slow_path::kind,
};
use dispatcher_ebpf::{header::tcp_flag, packet::Packet};

use super::{maps, segment::Segment, slow_path, verdict::Verdict};

/// Whether it is known, or about to be, where the next request of a flow starts.
#[inline(always)]
pub(super) const fn is_followed(filter: &Filter) -> bool {
    filter.flags & (flag::FOLLOWED | flag::ASKED) != 0
}

/// Sequence number after a segment's data.
#[inline(always)]
pub(super) fn end(packet: &Packet) -> u32 {
    packet.seq.wrapping_add(packet.payload_len() as u32)
}

/// Notes what the client acknowledges.
#[inline(always)]
pub(super) fn note_ack(segment: &Segment<'_>, filter: &mut Filter, now_ns: u64) {
    let packet = segment.packet;
    if !packet.has(tcp_flag::ACK) {
        return;
    }
    filter.last_ack = packet.ack;
    if filter.response_ns == 0 && is_after(packet.ack, filter.request_ack) {
        note_response(segment, filter, now_ns);
    }
}

/// The client has the first bytes of a response.
#[inline(never)]
fn note_response(segment: &Segment<'_>, filter: &mut Filter, now_ns: u64) {
    filter.response_ns = now_ns;
    filter.flags |= flag::RESPONDED;
    if let Some(stats) = maps::priority_stats(segment.service.owner, filter.priority) {
        stats.answered += 1;
        stats.wait_ns += now_ns.wrapping_sub(filter.request_ns);
    }
}

/// Notes data of a flow that is not followed.
#[inline(always)]
pub(super) fn note_data(segment: &Segment<'_>, filter: &mut Filter, now_ns: u64) {
    let packet = segment.packet;
    if begins_request(segment, filter) {
        filter.request_ns = now_ns;
        filter.request_ack = packet.ack;
        filter.response_ns = 0;
        filter.requests = filter.requests.wrapping_add(1);
        maps::count_kept_request(filter.server);
    }
    note_end(packet, filter);
}

/// Notes how far data goes that the server is sent.
#[inline(always)]
pub(super) fn note_end(packet: &Packet, filter: &mut Filter) {
    let end = end(packet);
    if is_after(end, filter.next_seq) {
        filter.next_seq = end;
    }
}

/// Whether data is the beginning of a new request: it was not there before, and the response to the one before has begun to
/// arrive.
#[inline(always)]
fn begins_request(segment: &Segment<'_>, filter: &Filter) -> bool {
    let packet = segment.packet;
    filter.response_ns != 0
        && is_after(packet.ack, filter.request_ack)
        && !is_after(filter.next_seq, packet.seq)
}

/// Turns a request away whose flow has a priority below the service's gate, or not. Nothing of it is noted: the server does
/// not get it, and its repetition is judged again.
#[inline(always)]
pub(super) fn refuse(segment: &Segment<'_>, filter: &Filter) -> Option<Verdict> {
    if segment.service.gate > filter.priority { judge(segment, filter) } else { None }
}

#[inline(never)]
fn judge(segment: &Segment<'_>, filter: &Filter) -> Option<Verdict> {
    if filter.state != state::ESTABLISHED || !is_request(segment, filter) {
        return None;
    }
    let owner = segment.service.owner;
    let way = maps::admission(owner)?.way(filter.priority);
    maps::priority_stats(owner, filter.priority)?.refused_kept += 1;
    if way == way::DROP {
        return Some(Verdict::drop(FrontCounter::KeptRefusedDropped));
    }
    let meta = slow_path::meta_of(segment, filter, kind::KEPT);
    Some(slow_path::hand_over(segment, meta, FrontCounter::KeptRefused))
}

/// Whether a request begins that may be refused: one behind a response, or what we say would come before that.
#[inline(always)]
fn is_request(segment: &Segment<'_>, filter: &Filter) -> bool {
    let packet = segment.packet;
    if !is_followed(filter) {
        return begins_request(segment, filter) && is_method(segment);
    }
    packet.payload_len() != 0
        && per_request::is_settled(filter)
        && per_request::data_of(filter, packet.seq, end(packet)) == Data::Request
}

/// How requests begin (RFC 9110 section 9, RFC 5789). Data that begins otherwise may be the rest of a request whose response came
/// early: refused, it would be cut off in its middle.
const METHODS: [[u8; 4]; 8] =
    [*b"GET ", *b"POST", *b"HEAD", *b"PUT ", *b"DELE", *b"PATC", *b"OPTI", *b"TRAC"];

/// Keeps the length of a TCP header, which the verifier does not know any more.
const HEADER_MASK: usize = 0x3c;

/// Whether the segment's data begins with a method.
#[inline(always)]
fn is_method(segment: &Segment<'_>) -> bool {
    let packet = segment.packet;
    let offset = packet.tcp_offset() + (packet.header_len & HEADER_MASK);
    let start = segment.frame.read::<u32>(offset);
    packet.payload_len() >= 4
        && start.is_some_and(|start| METHODS.iter().any(|method| u32::from_ne_bytes(*method) == start))
}

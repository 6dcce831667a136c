//! Segments of flows without a filter: the end of a handshake, a first request, or something that is to be told that we know
//! nothing of it. The cookie in the acknowledgement number decides.

use dispatcher_common::{
    cookie::Check,
    counter::FrontCounter,
    filter::FlowKey,
    limits::{SYN_ACK_WINDOW, WINDOW_SCALE},
    syn_options::SynOptions,
};
use dispatcher_ebpf::{header::tcp_flag, tcp_options::TcpOptions};

use super::{
    handshake,
    reply::{self, Header, TWO_NOPS},
    request,
    segment::Segment,
    verdict::Verdict,
};

#[inline(never)]
pub(super) fn segment(segment: &Segment<'_>, key: &FlowKey) -> Verdict {
    let packet = segment.packet;
    if packet.has(tcp_flag::RST) {
        return Verdict::drop(FrontCounter::UnknownRstDropped);
    }
    if !packet.has(tcp_flag::ACK) {
        return Verdict::drop(FrontCounter::MalformedDropped);
    }
    match handshake::check(segment, packet.seq.wrapping_sub(1)) {
        Check::Good(options) if packet.payload_len() != 0 => request::admit(segment, key, options),
        Check::Good(_) => handshake_end(segment),
        Check::OtherIsn => out_of_place(segment),
        Check::Foreign => foreign(segment),
    }
}

/// At the first sequence number and without data.
#[inline(always)]
fn handshake_end(segment: &Segment<'_>) -> Verdict {
    if segment.packet.has(tcp_flag::FIN) {
        return reply::reset(segment, FrontCounter::FreshFinReset);
    }
    Verdict::drop(FrontCounter::HandshakeCompleted)
}

#[inline(always)]
fn foreign(segment: &Segment<'_>) -> Verdict {
    let has_data = segment.packet.payload_len() != 0;
    reply::reset(segment, if has_data { FrontCounter::CookieRefused } else { FrontCounter::UnknownReset })
}

/// Of a fresh flow, but not its first segment. A keep-alive probe (at the ISN; some stacks put one byte into it) gets an
/// answer; everything else comes before its time, after a loss or a reordering, and the client repeats what matters.
#[inline(never)]
fn out_of_place(segment: &Segment<'_>) -> Verdict {
    let packet = segment.packet;
    if packet.payload_len() <= 1
        && !packet.has(tcp_flag::FIN)
        && let Check::Good(options) = handshake::check(segment, packet.seq)
    {
        return answer_probe(segment, options);
    }
    Verdict::drop(FrontCounter::EarlySegmentDropped)
}

#[inline(always)]
fn answer_probe(segment: &Segment<'_>, options: SynOptions) -> Verdict {
    let packet = segment.packet;
    let window = match options.window_scale() {
        Some(_) => SYN_ACK_WINDOW >> WINDOW_SCALE,
        None => SYN_ACK_WINDOW,
    };
    let header = Header { seq: packet.ack, ack: packet.seq.wrapping_add(1), flags: tcp_flag::ACK, window };
    match TcpOptions::parse(segment.frame, packet).timestamp_be() {
        Some(theirs) => {
            let timestamps = [TWO_NOPS | 0x080a, handshake::timestamp(), u32::from_be(theirs)];
            reply::send(segment, &header, timestamps, FrontCounter::ProbeAnswered)
        }
        None => reply::send(segment, &header, [], FrontCounter::ProbeAnswered),
    }
}

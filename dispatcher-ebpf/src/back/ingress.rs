//! From the clients: the table of what a segment to a service meets and what becomes of it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_load_bytes},
    programs::TcContext,
};
use dispatcher_common::{
    counter::BackCounter,
    epoch::Epoch,
    limits::TICKET_LEN,
    settings::BackSettings,
    ticket::{self, KIND_HAND_OFF, Refusal, Ticket, TicketWords},
};

use super::{
    flow::Flow,
    hand_off,
    maps::SETTINGS,
    retire,
    segment::{FIN, Parsed, RST, SYN, Segment, Sender},
    socket::{Kind, Socket},
    verdict::Verdict,
};

/// A TCP header with a ticket has at least so many words.
const LEAST_HEADER_WORDS: u8 = 5 + TICKET_LEN as u8 / 4;

const FIXED_HEADER_LEN: u32 = 20;

/// A hand-off whose memory was evicted is known again by its socket, as long as no more than this much came since, in bytes.
const SAME_CONNECTION_BYTES: u32 = 1 << 20;

/// One packet from the network.
#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let verdict = match Segment::parse(ctx, Sender::Client) {
        Parsed::Other => Verdict::Pass(BackCounter::OtherPassed),
        Parsed::Malformed => Verdict::Drop(BackCounter::MalformedDropped),
        Parsed::Segment(segment) => judge(ctx, &segment),
    };
    verdict.leave()
}

#[inline(always)]
fn judge(ctx: &TcContext, segment: &Segment) -> Verdict {
    let is_queued_again = retire::take_mark(ctx.skb.skb);
    if segment.flags & RST != 0 {
        if let Some(flow) = Flow::find(segment) {
            flow.close();
        }
        return Verdict::Pass(BackCounter::RstPassed);
    }
    if segment.flags & SYN != 0 {
        return Verdict::Drop(BackCounter::SynDropped);
    }
    let Some(words) = find_ticket(ctx, segment) else { return without_ticket(ctx, segment) };
    let Some(settings) = SETTINGS.get(0) else { return Verdict::Drop(BackCounter::TicketBad) };
    let place = ticket::Segment { tuple: &segment.tuple, seq: segment.seq, ack: segment.ack };
    match Ticket::check(&words, &settings.ticket_key, &place, now(settings)) {
        Ok(()) => with_ticket(ctx, segment, &Ticket::read(&words), settings, is_queued_again),
        Err(Refusal::Bad) => Verdict::Drop(BackCounter::TicketBad),
        Err(Refusal::Expired) => Verdict::Drop(BackCounter::TicketExpired),
    }
}

/// Only the option straight after the fixed header can be a ticket.
#[inline(always)]
fn find_ticket(ctx: &TcContext, segment: &Segment) -> Option<TicketWords> {
    if segment.header_words < LEAST_HEADER_WORDS {
        return None;
    }
    let mut words = MaybeUninit::<TicketWords>::uninit();
    let offset = segment.tcp_offset + FIXED_HEADER_LEN;
    // SAFETY: the helper fills the words, or fails.
    let status = unsafe {
        bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, words.as_mut_ptr().cast(), TICKET_LEN as u32)
    };
    if status != 0 {
        return None;
    }
    // SAFETY: filled by now. Volatile, or LLVM reads parts of a word that the verifier finds misaligned.
    let words = unsafe {
        let first = words.as_ptr().cast::<u32>();
        let read = |index| first.add(index).read_volatile();
        [read(0), read(1), read(2), read(3)]
    };
    (words[0] == ticket::PREFIX).then_some(words)
}

#[inline(always)]
fn now(settings: &BackSettings) -> Epoch {
    // SAFETY: a helper without arguments.
    let clock_ns = unsafe { bpf_ktime_get_coarse_ns() };
    Epoch::at(clock_ns.wrapping_add(settings.clock_offset_ns))
}

#[inline(always)]
fn with_ticket(
    ctx: &TcContext,
    segment: &Segment,
    ticket: &Ticket,
    settings: &BackSettings,
    is_queued_again: bool,
) -> Verdict {
    if ticket.kind != KIND_HAND_OFF {
        return Verdict::Drop(BackCounter::TicketBad);
    }
    let flow = Flow::find(segment);
    let is_over = flow.is_some_and(|flow| flow.began_with(segment) && flow.has_responded());
    let Some(socket) = Socket::find(ctx.skb.skb, segment) else {
        return Verdict::Pass(BackCounter::HandoffNoListener);
    };
    let kind = socket.kind();
    if is_over && kind != Kind::Live {
        return Verdict::Drop(BackCounter::TicketReplayed);
    }
    if kind == Kind::Listener {
        return hand_off::accept(ctx.skb.skb, &socket, segment, ticket, settings);
    }
    let rcv_nxt = match kind {
        Kind::TimeWait => socket.time_wait_rcv_nxt(settings.tw_rcv_nxt_offset),
        _ => socket.rcv_nxt(),
    };
    drop(socket);
    if kind == Kind::Live && is_same_connection(segment, flow, rcv_nxt) {
        return Verdict::Pass(BackCounter::HandoffRepeated);
    }
    match rcv_nxt {
        Some(rcv_nxt) if !is_queued_again => {
            retire::retire(ctx.skb.skb, segment, rcv_nxt);
            Verdict::Drop(retired(kind))
        }
        _ => Verdict::Drop(BackCounter::RetireStuck),
    }
}

#[inline(always)]
fn retired(kind: Kind) -> BackCounter {
    match kind {
        Kind::TimeWait => BackCounter::TimeWaitRetired,
        _ => BackCounter::StaleRetired,
    }
}

#[inline(always)]
fn is_same_connection(segment: &Segment, flow: Option<Flow>, rcv_nxt: Option<u32>) -> bool {
    match (flow, rcv_nxt) {
        (Some(flow), _) => flow.began_with(segment),
        (None, Some(rcv_nxt)) => rcv_nxt.wrapping_sub(segment.seq) < SAME_CONNECTION_BYTES,
        (None, None) => false,
    }
}

#[inline(always)]
fn without_ticket(ctx: &TcContext, segment: &Segment) -> Verdict {
    let Some(socket) = Socket::find(ctx.skb.skb, segment) else {
        return Verdict::Drop(BackCounter::NoTicketDropped);
    };
    let (kind, rcv_nxt) = match socket.kind() {
        Kind::Live => (Kind::Live, socket.rcv_nxt()),
        kind => (kind, None),
    };
    drop(socket);
    if kind == Kind::Listener {
        return Verdict::Drop(BackCounter::NoTicketDropped);
    }
    if let (Some(flow), Some(rcv_nxt)) = (Flow::find(segment), rcv_nxt) {
        measure(segment, flow, rcv_nxt);
    }
    Verdict::Pass(BackCounter::SegmentPassed)
}

/// Data that the socket has had before, a retransmission or a keep-alive probe, is no request.
#[inline(always)]
fn measure(segment: &Segment, flow: Flow, rcv_nxt: u32) {
    let end = segment.seq.wrapping_add(segment.payload_len);
    if segment.payload_len != 0 && end.wrapping_sub(rcv_nxt) as i32 > 0 {
        flow.take_request();
    }
    if segment.flags & FIN != 0 {
        flow.finish_requests();
    }
}

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
    per_request::is_after,
    server::phase,
    settings::BackSettings,
    ticket::{self, KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, Refusal, Ticket, TicketWords},
};

use super::{
    flow::Flow,
    further::Further,
    give_back::give_back,
    hand_off,
    maps::SETTINGS,
    mark::Mark,
    retire::retire,
    segment::{FIN, Parsed, RST, SYN, Segment, Sender},
    socket::{Kind, Socket},
    verdict::Verdict,
};

/// A TCP header with a ticket has at least so many words.
const LEAST_HEADER_WORDS: u8 = 5 + TICKET_LEN as u8 / 4;

pub(super) const FIXED_HEADER_LEN: u32 = 20;

/// A hand-off whose memory was evicted is known again by its socket, as long as no more than this much came since, in bytes.
const SAME_CONNECTION_BYTES: u32 = 1 << 20;

/// What becomes of a segment.
pub(super) enum Way {
    Leave(Verdict),
    /// Its connection is being released: it has to come after that.
    Hold,
    /// Another server has its connection.
    GiveBack,
}

/// One packet from the network.
#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let verdict = match Segment::parse(ctx, Sender::Client) {
        Parsed::Other => Verdict::Pass(BackCounter::OtherPassed),
        Parsed::Malformed => Verdict::Drop(BackCounter::MalformedDropped),
        Parsed::Segment(segment) => {
            let mark = Mark::take(skb);
            match judge(ctx, &segment, mark) {
                Way::Leave(verdict) => verdict,
                Way::Hold if mark.queue_again(skb) => Verdict::Drop(BackCounter::MoveHeld),
                Way::Hold => Verdict::Drop(BackCounter::MoveHeldDropped),
                Way::GiveBack => give_back(skb, &segment),
            }
        }
    };
    verdict.leave(skb)
}

#[inline(always)]
fn judge(ctx: &TcContext, segment: &Segment, mark: Mark) -> Way {
    if segment.flags & RST != 0 {
        return reset(ctx, segment);
    }
    if segment.flags & SYN != 0 {
        return Way::Leave(Verdict::Drop(BackCounter::SynDropped));
    }
    let Some(words) = find_ticket(ctx, segment) else { return without_ticket(ctx, segment) };
    let Some(settings) = SETTINGS.get(0) else { return Way::Leave(Verdict::Drop(BackCounter::TicketBad)) };
    let place = ticket::Segment { tuple: &segment.tuple, seq: segment.seq, ack: segment.ack };
    match Ticket::check(&words, &settings.ticket_key, &place, now(settings)) {
        Ok(()) => with_ticket(ctx, segment, &words, settings, mark),
        Err(Refusal::Bad) => Way::Leave(Verdict::Drop(BackCounter::TicketBad)),
        Err(Refusal::Expired) => Way::Leave(Verdict::Drop(BackCounter::TicketExpired)),
    }
}

/// Of the client's, or of a front-end's in its name.
#[inline(always)]
fn reset(ctx: &TcContext, segment: &Segment) -> Way {
    if let Some(flow) = Flow::find(segment) {
        let is_elsewhere = flow.phase() == phase::RELEASED;
        if is_elsewhere && Socket::find_connection(ctx.skb.skb, segment).is_none() {
            return Way::GiveBack;
        }
        flow.close();
    }
    Way::Leave(Verdict::Pass(BackCounter::RstPassed))
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
pub(super) fn now(settings: &BackSettings) -> Epoch {
    // SAFETY: a helper without arguments.
    let clock_ns = unsafe { bpf_ktime_get_coarse_ns() };
    Epoch::at(clock_ns.wrapping_add(settings.clock_offset_ns))
}

#[inline(always)]
fn with_ticket(
    ctx: &TcContext,
    segment: &Segment,
    words: &TicketWords,
    settings: &BackSettings,
    mark: Mark,
) -> Way {
    let ticket = &Ticket::read(words);
    match ticket.kind {
        KIND_HAND_OFF => Way::Leave(take_over(ctx, segment, ticket, settings, mark)),
        KIND_BOOKS | KIND_MOVE => Further { segment, ticket, words, settings, mark }.judge(ctx.skb.skb),
        _ => Way::Leave(Verdict::Drop(BackCounter::TicketBad)),
    }
}

/// A hand-off.
#[inline(always)]
fn take_over(
    ctx: &TcContext,
    segment: &Segment,
    ticket: &Ticket,
    settings: &BackSettings,
    mark: Mark,
) -> Verdict {
    let flow = Flow::find(segment);
    let began = flow.is_some_and(|flow| flow.began_with(segment));
    let was_here = !began && flow.is_some_and(|flow| flow.was_here(segment));
    let is_over = was_here || began && flow.is_some_and(Flow::has_responded);
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
    if kind == Kind::Live && (began || was_here || flow.is_none() && has_had(segment, rcv_nxt)) {
        return Verdict::Pass(BackCounter::HandoffRepeated);
    }
    match rcv_nxt {
        Some(rcv_nxt) if !mark.is_queued_again() => {
            if let Some(flow) = flow {
                flow.give_way();
            }
            retire(ctx.skb.skb, segment, rcv_nxt, mark);
            Verdict::Pass(retired(kind))
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

/// Whether a socket that nobody remembers is likely to be of the segment's connection.
#[inline(always)]
fn has_had(segment: &Segment, rcv_nxt: Option<u32>) -> bool {
    rcv_nxt.is_some_and(|rcv_nxt| rcv_nxt.wrapping_sub(segment.seq) < SAME_CONNECTION_BYTES)
}

#[inline(always)]
fn without_ticket(ctx: &TcContext, segment: &Segment) -> Way {
    let flow = Flow::find(segment);
    let phase = flow.map_or(0, Flow::phase);
    let Some(socket) = Socket::find_connection(ctx.skb.skb, segment) else {
        return match phase {
            phase::RELEASED => Way::GiveBack,
            phase::RETIRING => Way::Hold,
            _ => Way::Leave(Verdict::Drop(BackCounter::NoTicketDropped)),
        };
    };
    let rcv_nxt = if socket.kind() == Kind::Live { socket.rcv_nxt() } else { None };
    drop(socket);
    let goes_on = segment.payload_len != 0 || segment.flags & FIN != 0;
    if phase == phase::RETIRING && goes_on && !flow.is_some_and(|flow| flow.call_off(rcv_nxt)) {
        return Way::Hold;
    }
    if let (Some(flow), Some(rcv_nxt)) = (flow, rcv_nxt) {
        measure(segment, flow, rcv_nxt);
    }
    Way::Leave(Verdict::Pass(BackCounter::SegmentPassed))
}

/// Data that the socket has had before, a retransmission or a keep-alive probe, is no request.
#[inline(always)]
fn measure(segment: &Segment, flow: Flow, rcv_nxt: u32) {
    if segment.payload_len != 0 && is_after(segment.end(), rcv_nxt) {
        flow.take_request();
    }
    if segment.flags & FIN != 0 {
        flow.finish_requests();
    }
}

//! Tickets of further requests: one that stays here goes into the books; one for another server makes this one let the connection
//! go, if it is free, and is sent back once the socket is gone. What may go is decided in `dispatcher_common::per_request`.

use aya_ebpf::bindings::__sk_buff;
use dispatcher_common::{
    counter::BackCounter,
    per_request::is_after,
    server::phase,
    settings::BackSettings,
    ticket::{KIND_MOVE, Ticket, TicketWords},
};

use super::{
    flow::Flow, ingress::Way, mark::Mark, release::release, requests::is_head, retire::retire,
    segment::Segment, socket::Socket, verdict::Verdict,
};

/// A segment with the ticket of a further request.
pub(super) struct Further<'a> {
    pub(super) segment: &'a Segment,
    pub(super) ticket: &'a Ticket,
    /// The ticket as it lies in the segment.
    pub(super) words: &'a TicketWords,
    pub(super) settings: &'a BackSettings,
    pub(super) mark: Mark,
}

impl Further<'_> {
    #[inline(always)]
    pub(super) fn judge(&self, skb: *mut __sk_buff) -> Way {
        let Some(flow) = Flow::find(self.segment) else { return self.unknown(skb) };
        // Whatever its ticket says now: it may be of a front-end that does not know that the connection was to go.
        let is_release = flow.is_release(self.segment);
        match flow.phase() {
            phase::RETIRING if is_release => self.go_on(skb, flow),
            phase::RETIRING => self.wait(skb, flow),
            // The kernel resets at the number that the segment acknowledges, just what the client expects.
            phase::CLOSED if flow.release_seq() == self.segment.seq => {
                Way::Leave(Verdict::Pass(BackCounter::MoveSpoilt))
            }
            phase => self.meet(skb, flow, phase == phase::RELEASED, is_release),
        }
    }

    /// A flow that is not remembered is never free, and counts no more.
    #[inline(always)]
    fn unknown(&self, skb: *mut __sk_buff) -> Way {
        Way::Leave(match Socket::find_connection(skb, self.segment) {
            Some(_) => Verdict::Pass(self.stays()),
            None => Verdict::Drop(BackCounter::NoTicketDropped),
        })
    }

    /// The request of a connection that nobody has begun to release, or that was released.
    #[inline(always)]
    fn meet(&self, skb: *mut __sk_buff, flow: Flow, is_released: bool, is_release: bool) -> Way {
        let Some(socket) = Socket::find_connection(skb, self.segment) else {
            return match (is_released, is_release) {
                (true, true) => self.release(skb, flow),
                (true, false) => Way::GiveBack,
                _ => Way::Leave(Verdict::Drop(BackCounter::NoTicketDropped)),
            };
        };
        if self.is_move() && self.begin(flow, &socket) {
            drop(socket);
            return self.retire(skb);
        }
        let rcv_nxt = socket.rcv_nxt();
        drop(socket);
        self.stay(skb, flow, rcv_nxt)
    }

    /// Claims the connection for the release, if it is free and its socket can be ended at once. The software may write between
    /// the look and the claim: what it writes before is seen by a second look, what it writes after by `back_out`.
    #[inline(always)]
    fn begin(&self, flow: Flow, socket: &Socket) -> bool {
        let Some(seen) = socket.look(self.settings) else { return false };
        let is_free = flow.is_free(&seen, self.ticket.number, self.segment);
        if !is_free || socket.is_owned(self.settings) {
            return false;
        }
        if !flow.claim(self.segment, socket.path_state(self.settings)) {
            return false;
        }
        if socket.write_seq(self.settings) == Some(seen.write_seq) {
            return true;
        }
        flow.advance(phase::RETIRING, phase::ANSWERED);
        false
    }

    /// The request comes again while the socket is being retired.
    #[inline(always)]
    fn go_on(&self, skb: *mut __sk_buff, flow: Flow) -> Way {
        let spoilt = Way::Leave(Verdict::Pass(BackCounter::MoveSpoilt));
        let Some(socket) = Socket::find_connection(skb, self.segment) else {
            let is_released = flow.advance(phase::RETIRING, phase::RELEASED);
            return if is_released { self.release(skb, flow) } else { spoilt };
        };
        let rcv_nxt = socket.rcv_nxt();
        drop(socket);
        if rcv_nxt != Some(self.segment.seq) {
            return if flow.call_off(rcv_nxt) { self.stay(skb, flow, rcv_nxt) } else { spoilt };
        }
        if !self.mark.is_queued_again() {
            return self.retire(skb);
        }
        Way::Leave(Verdict::Drop(if self.mark.queue_again(skb) {
            BackCounter::MoveHeld
        } else {
            BackCounter::RetireStuck
        }))
    }

    /// Another request comes while the socket is being retired.
    #[inline(always)]
    fn wait(&self, skb: *mut __sk_buff, flow: Flow) -> Way {
        let rcv_nxt = Socket::find_connection(skb, self.segment).and_then(|socket| socket.rcv_nxt());
        if flow.call_off(rcv_nxt) { self.stay(skb, flow, rcv_nxt) } else { Way::Hold }
    }

    #[inline(always)]
    fn retire(&self, skb: *mut __sk_buff) -> Way {
        retire(skb, self.segment, self.segment.seq, self.mark);
        Way::Leave(Verdict::Pass(BackCounter::MoveBegun))
    }

    #[inline(always)]
    fn release(&self, skb: *mut __sk_buff, flow: Flow) -> Way {
        flow.note_seen();
        Way::Leave(release(skb, self, flow.path()))
    }

    /// The request is answered here. What the socket has had before is no request.
    #[inline(always)]
    fn stay(&self, skb: *mut __sk_buff, flow: Flow, rcv_nxt: Option<u32>) -> Way {
        if rcv_nxt.is_some_and(|rcv_nxt| is_after(self.segment.end(), rcv_nxt)) {
            flow.take_numbered(self.ticket.number, self.ticket.class, is_head(skb, self.segment));
        }
        Way::Leave(Verdict::Pass(self.stays()))
    }

    #[inline(always)]
    fn stays(&self) -> BackCounter {
        if self.is_move() { BackCounter::MoveKept } else { BackCounter::RequestBooked }
    }

    #[inline(always)]
    fn is_move(&self) -> bool {
        self.ticket.kind == KIND_MOVE
    }
}

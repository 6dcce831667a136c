//! A server that lets a connection go: whether it is free, its socket's end by a reset in the kernel's own queue, and the request's
//! way back once the socket is gone.

use dispatcher_common::{
    per_request,
    server::phase,
    ticket::{KIND_RELEASED, Ticket},
};

use super::{Mark, Server};
use crate::{
    mutation::Mutation,
    network::Link,
    segment::Segment,
    world::{Context, Event},
};

/// How often data is queued again.
const MOST_TRIES: u8 = 8;

impl Server {
    pub(super) fn is_free(&self, segment: &Segment, ticket: &Ticket, mutation: Mutation) -> bool {
        let (Some(mut flow), Some(socket)) = (self.flow, &self.socket) else { return false };
        let mut socket = socket.seen();
        let ack = segment.acknowledged();
        match mutation {
            Mutation::FreeWhileUnanswered => flow.answered = ticket.number,
            Mutation::FreeWhileUnacknowledged if flow.next_at == socket.write_seq => {
                (flow.next_at, socket.write_seq) = (ack, ack);
            }
            Mutation::FreeInsideResponse => flow.next_at = socket.write_seq,
            _ => {}
        }
        per_request::is_free(&flow, &socket, ticket.number, segment.seq, ack)
    }

    pub(super) fn is_release(&self, segment: &Segment, mutation: Mutation) -> bool {
        self.flow.is_some_and(|flow| {
            let is_any = mutation == Mutation::ReleaseWhateverAck;
            let ack = if is_any { flow.next_at } else { segment.acknowledged() };
            per_request::is_release(&flow, segment.seq, ack)
        })
    }

    pub(super) fn begin_release(&mut self, segment: Segment, ctx: &mut Context) {
        ctx.trace.note(ctx.now, "retires at", self.index, segment.seq);
        if let Some(flow) = &mut self.flow {
            flow.phase = phase::RETIRING;
            flow.release_seq = segment.seq;
        }
        self.retire(segment, Mark::Held(0), ctx);
    }

    /// Queues a reset that is exact, and the segment behind it.
    pub(super) fn retire(&mut self, segment: Segment, mark: Mark, ctx: &mut Context) {
        let Some(socket) = &self.socket else { return };
        let reset = Segment { rst: true, ..Segment::new(segment.connection, socket.expected(), None) };
        let delay = ctx.random.between(1, self.queue_ticks);
        if !(ctx.is_rough && ctx.random.hits(self.lost_reset_per_mille)) {
            ctx.after(delay, Event::Queued(self.index, reset, Mark::Reset));
        }
        let delay = delay + ctx.random.between(0, self.queue_ticks);
        ctx.after(delay, Event::Queued(self.index, segment, mark));
    }

    /// The segment for which the connection is to be released, once the reset may have done its work.
    pub(super) fn go_on_releasing(
        &mut self,
        segment: Segment,
        ticket: &Ticket,
        mark: Option<Mark>,
        ctx: &mut Context,
    ) {
        if !self.is_live() || ctx.mutation == Mutation::ReleaseBeforeDead {
            ctx.trace.note(ctx.now, "releases at", self.index, segment.seq);
            if self.socket.as_ref().is_some_and(|socket| socket.software.is_busy()) {
                ctx.ledger.break_rule(format!("server {} releases with requests in hand", self.index));
            }
            if let Some(flow) = &mut self.flow {
                flow.phase = phase::RELEASED;
            }
            return self.release(segment, ticket, ctx);
        }
        if self.was_served() {
            return self.call_off(segment, ctx);
        }
        match mark {
            // The reset may have been lost.
            None => self.retire(segment, Mark::Held(1), ctx),
            Some(_) => self.hold(segment, mark, ctx),
        }
    }

    /// Whether the socket has received what it was to be retired for: the reset is refused.
    fn was_served(&self) -> bool {
        let release_seq = self.flow.map(|flow| flow.release_seq);
        self.socket.as_ref().is_some_and(|socket| socket.is_live() && Some(socket.expected()) != release_seq)
    }

    fn call_off(&mut self, segment: Segment, ctx: &mut Context) {
        ctx.trace.note(ctx.now, "calls off at", self.index, segment.seq);
        ctx.ledger.called_off += 1;
        if let Some(flow) = &mut self.flow {
            flow.phase = phase::ANSWERED;
        }
        self.kernel(segment, ctx);
    }

    /// Queues data again until it is known who gets it; unless the socket has gone on receiving, which calls the release off, as nobody
    /// may ever repeat the request for which it was begun.
    pub(super) fn hold(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        if self.was_served() {
            return self.call_off(segment, ctx);
        }
        let tries = if let Some(Mark::Held(tries)) = mark { tries } else { 0 };
        if tries < MOST_TRIES {
            let delay = ctx.random.between(1, self.queue_ticks);
            ctx.after(delay, Event::Queued(self.index, segment, Mark::Held(tries + 1)));
        }
    }

    pub(super) fn release(&mut self, mut segment: Segment, ticket: &Ticket, ctx: &mut Context) {
        segment.ticket = Some(Ticket { kind: KIND_RELEASED, ..*ticket });
        ctx.send(Link::FromServer(self.index), segment);
    }

    pub(super) fn give_back(&mut self, mut segment: Segment, ctx: &mut Context) {
        if segment.hops > 1 {
            segment.hops -= 1;
            ctx.ledger.returned += 1;
            ctx.send(Link::FromServer(self.index), segment);
        }
    }
}

//! The front-end: its program's table of what a segment meets. What data is to a flow, and what becomes of a released request, is
//! decided by `dispatcher_common::per_request`. New connections are `newcomer`'s, further requests `further`'s; `slow_path` is the
//! control plane's part.

mod further;
mod newcomer;
mod slow_path;
mod writing;

use std::collections::VecDeque;

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request::{Data, Released, data_of, needs_ticket, released},
    slow_path::kind,
    ticket::{KIND_HAND_OFF, KIND_RELEASED, Ticket},
};

use self::{
    further::{forward, make_opaque, note_ack, note_data},
    writing::Writing,
};
use crate::{
    mutation::Mutation,
    network::Link,
    segment::Segment,
    world::{Context, Event, Profile},
};

pub(crate) struct FrontEnd {
    servers: usize,
    filter: Option<Filter>,
    /// ISNs that were answered, and with which cookie.
    issued: Vec<(u32, u32)>,
    cookie_key: u64,
    has_late_wrap: bool,
    /// What waits for the slow path.
    queue: VecDeque<(u8, Segment)>,
    /// Frames that the slow path is to send, and to which server.
    outgoing: VecDeque<(u16, Segment)>,
    /// The filter of a new connection that the slow path has handed off and is to write.
    unwritten: Option<Filter>,
    /// The filter of another one that it is writing.
    writing: Option<Writing>,
    /// Whether a control plane listens.
    is_up: bool,
    /// How many requests of a thousand the class cache knows.
    known_per_mille: u64,
    /// A server that gets no more requests.
    draining: Option<usize>,
    slow_ticks: u64,
    crash_per_mille: u64,
    /// Whether the slow path sends further requests before it writes their filters: slower, and more can be lost, but safe too.
    sends_first: bool,
    /// Frames that find the slow path's ring full.
    overrun_per_mille: u64,
}

impl FrontEnd {
    pub(crate) fn new(servers: usize, ctx: &mut Context) -> Self {
        let crash_per_mille = ctx.random.between(0, 1) * ctx.random.between(1, 1000);
        if crash_per_mille > 0 {
            let delay = ctx.random.between(50, 3000);
            ctx.after(delay, Event::ControlPlane);
        }
        let Profile { most_halves_known, sends_first_per_mille, most_slow_ticks, .. } = ctx.profile;
        let random = &mut ctx.random;
        Self {
            servers,
            filter: None,
            issued: Vec::new(),
            cookie_key: random.next(),
            has_late_wrap: random.hits(500),
            queue: VecDeque::new(),
            outgoing: VecDeque::new(),
            unwritten: None,
            writing: None,
            is_up: true,
            known_per_mille: random.between(0, most_halves_known) * 500,
            draining: None,
            slow_ticks: random.between(1, most_slow_ticks),
            crash_per_mille,
            sends_first: random.hits(sends_first_per_mille),
            overrun_per_mille: random.between(0, 1) * random.between(0, 200),
        }
    }

    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The control plane dies, with all frames that it has and all filters that it has not written; or starts again.
    pub(crate) fn restart(&mut self, ctx: &mut Context) {
        let (least, most) = if self.is_up { (20, 200) } else { (100, 3000) };
        self.is_up = !self.is_up;
        self.queue.clear();
        self.outgoing.clear();
        // The program's own first requests are written at once, and so are the slow path's in this model: what may go wrong
        // between is not about further requests.
        self.writing = None;
        self.draining = ctx.random.hits(300).then(|| ctx.random.next() as usize % self.servers);
        if ctx.is_rough && ctx.random.hits(self.crash_per_mille) || !self.is_up {
            let delay = ctx.random.between(least, most);
            ctx.after(delay, Event::ControlPlane);
        }
    }

    /// The policy.
    fn choose(&self, ctx: &mut Context) -> u16 {
        let server = ctx.random.next() as usize % self.servers;
        let is_out = self.draining == Some(server) && self.servers > 1;
        (if is_out { (server + 1) % self.servers } else { server }) as u16
    }

    /// A frame that comes from a server: one that it has given back.
    pub(crate) fn take_back(&mut self, segment: Segment, ctx: &mut Context) {
        match segment.ticket {
            None => self.receive(segment, ctx),
            Some(ticket) if ticket.kind == KIND_RELEASED => self.take_released(segment, ticket, ctx),
            Some(_) => {
                if let Some(filter) = &self.filter {
                    ctx.send(Link::ToServer(filter.server.into()), segment);
                }
            }
        }
    }

    fn take_released(&mut self, mut segment: Segment, ticket: Ticket, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        let mut decision = released(filter, segment.seq, ticket.server);
        decision = match (ctx.mutation, decision) {
            (Mutation::TakeStale, Released::Stale) => Released::Take,
            (Mutation::TakeWhileAsked, Released::TakeUnsent) => Released::Take,
            _ => decision,
        };
        match decision {
            Released::Take | Released::TakeUnsent => {
                ctx.ledger.moves += 1;
                filter.server = ticket.server;
                filter.flags &= !(flag::FURTHER | flag::MOVING);
                filter.handoff_ack = segment.acknowledged();
                filter.moves += 1;
            }
            Released::Again => {}
            Released::Stale => return,
        }
        if decision == Released::TakeUnsent {
            return;
        }
        ctx.trace.note(ctx.now, "hands over to", ticket.server.into(), segment.seq);
        segment.ticket = Some(Ticket { kind: KIND_HAND_OFF, followed: true, ..ticket });
        ctx.send(Link::ToServer(ticket.server.into()), segment);
    }

    /// A frame that comes from the client, or looks like it.
    pub(crate) fn receive(&mut self, segment: Segment, ctx: &mut Context) {
        let is_newcomer = segment.syn || self.filter.is_some_and(|filter| self.takes_over(&filter, &segment));
        if is_newcomer || self.has_in_hand(&segment) {
            self.finish_writing(ctx);
        }
        if segment.syn {
            return self.answer_syn(&segment, ctx);
        }
        match &self.filter {
            Some(filter) if !self.takes_over(filter, &segment) => self.known(segment, ctx),
            Some(_) if !segment.data.is_empty() && !self.is_at_isn(&segment) => {
                ctx.trace.note(ctx.now, "replaces the filter at", 0, segment.seq);
                self.filter = None;
                self.unknown(segment, ctx);
            }
            _ => self.unknown(segment, ctx),
        }
    }

    fn ask(&mut self, kind: u8, segment: Segment, ctx: &mut Context) {
        let is_overrun = ctx.is_rough && ctx.random.hits(self.overrun_per_mille);
        if self.is_up && !is_overrun {
            self.queue.push_back((kind, segment));
            let delay = ctx.random.between(1, self.slow_ticks);
            ctx.after(delay, Event::SlowPath);
        }
    }

    fn known(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        if filter.state != state::PENDING {
            return self.established(segment, ctx);
        }
        let says_nothing = segment.data.is_empty() && segment.ack == Some(filter.handoff_ack);
        if says_nothing && !segment.fin && !segment.rst {
            return;
        }
        let is_again = !segment.data.is_empty() && segment.seq == filter.handoff_seq;
        self.ask(if is_again { kind::AGAIN } else { kind::LATER }, segment, ctx);
    }

    fn established(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        note_ack(filter, &segment);
        if segment.fin || segment.rst {
            filter.state = state::CLOSING;
        }
        if segment.data.is_empty() {
            return forward(filter, segment, ctx);
        }
        let data = data_of(filter, segment.seq, segment.end());
        if data == Data::Straddles {
            make_opaque(filter, opaque::STRADDLED, ctx);
        }
        if needs_ticket(filter, segment.seq, segment.acknowledged()) {
            return self.repeat(segment, ctx);
        }
        match data {
            Data::Plain | Data::Straddles => {}
            Data::Request => return self.request(segment, ctx),
            Data::Again => return self.ask_again(kind::FURTHER, segment, ctx),
            Data::Behind => return self.ask_again(kind::BEHIND, segment, ctx),
        }
        note_data(filter, &segment);
        forward(filter, segment, ctx);
    }
}

/// Whether the data is one head without a body.
fn is_one_head(segment: &Segment) -> bool {
    segment
        .data
        .first()
        .is_some_and(|byte| byte.head == byte.total && usize::from(byte.head) == segment.data.len())
}

//! A server: its ingress program's table of what a segment meets. What is safe is decided by `dispatcher_common::per_request`; how a
//! connection is let go is told in `release`, the kernel and the software beside the program in `host`.

mod host;
mod release;

use dispatcher_common::{
    per_request,
    server::{CLASSES_REMEMBERED, ServerFlow, framing, phase},
    ticket::{KIND_HAND_OFF, KIND_MOVE, Ticket},
};

use crate::{
    mutation::Mutation,
    random::Random,
    segment::Segment,
    socket::{Socket, State},
    software::Software,
    world::{Context, Event},
};

/// What a clone in the kernel's queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The hand-off for which an older connection was reset.
    Retired,
    /// A reset of the program's own, which the kernel takes a little later.
    Reset,
    /// Data of such a connection, and how often it was queued again.
    Held(u8),
}

pub(crate) struct Server {
    index: usize,
    flow: Option<ServerFlow>,
    socket: Option<Socket>,
    accepted: u32,
    /// How long the software stays in system calls, in ticks.
    call_ticks: u64,
    queue_ticks: u64,
    lost_reset_per_mille: u64,
}

impl Server {
    pub(crate) fn new(index: usize, random: &mut Random) -> Self {
        Self {
            index,
            flow: None,
            socket: None,
            accepted: 0,
            call_ticks: random.between(0, 1) * random.between(1, 60),
            queue_ticks: random.between(1, 12),
            lost_reset_per_mille: random.between(0, 1) * random.between(0, 100),
        }
    }

    /// Whether a socket of a connection lives here.
    pub(crate) fn has_sender(&self, connection: u32) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.is_live() && socket.connection == connection)
    }

    /// One segment from the network, or from the kernel's queue.
    pub(crate) fn ingress(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        if mark == Some(Mark::Reset) {
            return self.kernel(segment, ctx);
        }
        if segment.rst {
            return self.reset(segment, ctx);
        }
        match segment.ticket {
            None => self.without_ticket(segment, mark, ctx),
            Some(ticket) if ticket.kind == KIND_HAND_OFF => self.hand_off(segment, &ticket, mark, ctx),
            Some(ticket) => self.further(segment, &ticket, mark, ctx),
        }
    }

    fn reset(&mut self, segment: Segment, ctx: &mut Context) {
        if self.phase() == phase::RELEASED && !self.is_live() {
            return self.give_back(segment, ctx);
        }
        self.close_flow();
        self.kernel(segment, ctx);
    }

    fn without_ticket(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        let has_data = !segment.data.is_empty() || segment.fin;
        match self.phase() {
            phase::RETIRING if has_data => self.hold(segment, mark, ctx),
            phase::RELEASED if !self.is_live() => self.give_back(segment, ctx),
            _ if self.has_socket() => self.pass(segment, ctx),
            _ => {}
        }
    }

    fn hand_off(&mut self, segment: Segment, ticket: &Ticket, mark: Option<Mark>, ctx: &mut Context) {
        let began = self.flow.is_some_and(|flow| began_with(&flow, &segment));
        let was_here = self.flow.is_some_and(|flow| per_request::was_here(&flow, segment.seq));
        let was_here = was_here && ctx.mutation != Mutation::ForgetEarlier;
        let is_over = was_here || began && self.flow.is_some_and(|flow| flow.responded != 0);
        match self.socket.as_ref().map(|socket| socket.state) {
            None | Some(State::Dead) if is_over => {}
            None | Some(State::Dead) => self.accept(segment, ticket, ctx),
            Some(State::TimeWait) if is_over => {}
            Some(State::Live) if was_here => {}
            Some(State::Live) if began && self.phase() == phase::RETIRING => self.hold(segment, mark, ctx),
            Some(State::Live) if began => self.kernel(segment, ctx),
            Some(_) if mark == Some(Mark::Retired) => {}
            Some(_) => {
                self.give_way(ctx.mutation);
                self.retire(segment, Mark::Retired, ctx);
            }
        }
    }

    /// The old connection is over, as if it had gone elsewhere.
    fn give_way(&mut self, mutation: Mutation) {
        let over = if mutation == Mutation::ResetNewcomer { phase::CLOSED } else { phase::RELEASED };
        if let Some(flow) = &mut self.flow {
            flow.phase = over;
        }
    }

    fn accept(&mut self, segment: Segment, ticket: &Ticket, ctx: &mut Context) {
        ctx.trace.note(ctx.now, "accepts at", self.index, segment.seq);
        let number = ticket.number;
        let earlier = match self.flow {
            // A new connection's hand-offs are not those of an older one.
            Some(old) if old.phase == phase::RELEASED => {
                let [a, b, c, _] = old.earlier;
                [old.handoff_seq, a, b, c]
            }
            _ => [segment.seq.wrapping_sub(1); 4],
        };
        self.flow = Some(ServerFlow {
            handoff_seq: segment.seq,
            handoff_ack: segment.acknowledged(),
            phase: phase::WAITING,
            class: ticket.class,
            next_at: segment.acknowledged(),
            framing: if ticket.followed { framing::HEAD } else { framing::OFF },
            arrived: number.wrapping_add(1),
            answered: number,
            classes: [ticket.class; CLASSES_REMEMBERED],
            earlier,
            ..ServerFlow::default()
        });
        self.accepted += 1;
        let software = Software::new(self.index, segment.connection, &mut ctx.random);
        let pause = software.pause(&mut ctx.random);
        ctx.after(pause, Event::Software(self.index, self.accepted));
        self.socket = Some(Socket::accept(self.accepted, &segment, software));
        self.kernel(segment, ctx);
    }

    /// A further request with a books or move ticket.
    fn further(&mut self, segment: Segment, ticket: &Ticket, mark: Option<Mark>, ctx: &mut Context) {
        let is_release = self.is_release(&segment, ctx.mutation);
        match (self.phase(), self.is_live()) {
            (phase::RETIRING, _) if is_release => self.go_on_releasing(segment, ticket, mark, ctx),
            (phase::RETIRING, _) => self.hold(segment, mark, ctx),
            (phase::RELEASED, false) => {
                if is_release && (ticket.kind == KIND_MOVE || ctx.mutation != Mutation::BooksNotReleased) {
                    self.release(segment, ticket, ctx);
                } else {
                    self.give_back(segment, ctx);
                }
            }
            (phase::CLOSED, false) if is_release && matches!(mark, Some(Mark::Held(_))) => {
                ctx.ledger.spoilt += 1;
                self.kernel(segment, ctx);
            }
            (_, false) => {}
            (_, true) if ticket.kind == KIND_MOVE && self.is_free(&segment, ticket, ctx.mutation) => {
                self.begin_release(segment, ctx);
            }
            (_, true) => {
                ctx.ledger.kept += u64::from(ticket.kind == KIND_MOVE);
                self.kernel(segment, ctx);
            }
        }
    }

    fn phase(&self) -> u8 {
        self.flow.map_or(0, |flow| flow.phase)
    }

    /// Whether the kernel finds a socket that is no listener.
    fn has_socket(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.state != State::Dead)
    }

    fn is_live(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_live)
    }

    /// The client has ended the connection.
    fn close_flow(&mut self) {
        if let Some(flow) = self.flow.as_mut().filter(|flow| flow.phase != phase::RELEASED) {
            flow.phase = phase::CLOSED;
        }
    }
}

fn began_with(flow: &ServerFlow, segment: &Segment) -> bool {
    flow.handoff_seq == segment.seq && Some(flow.handoff_ack) == segment.ack
}

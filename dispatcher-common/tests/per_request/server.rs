//! A server: its program's ingress and egress beside the kernel's socket. The table is that of the protocol; what is safe is decided
//! by `dispatcher_common::per_request`.

use dispatcher_common::{
    per_request,
    server::{CLASSES_REMEMBERED, ServerFlow, framing, phase},
    ticket::{KIND_HAND_OFF, KIND_MOVE, KIND_RELEASED, Ticket},
};

use crate::{
    mutation::Mutation,
    network::Link,
    random::Random,
    segment::{Kind, Segment},
    socket::{Socket, State},
    software::{Act, Software},
    world::{Context, Event},
};

/// What a clone in the kernel's queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The hand-off for which an older connection was reset.
    Retired,
    /// The reset of a connection that is to be released.
    Reset,
    /// Data of such a connection, and how often it was queued again.
    Held(u8),
}

/// How often data is queued again.
const MOST_TRIES: u8 = 8;

/// Ticks until a server's first repetition.
const TIMEOUT_TICKS: u64 = 50;

/// How often the time until a repetition doubles.
const MOST_DOUBLINGS: u32 = 3;

/// Ticks of a socket in TIME_WAIT.
const TIME_WAIT_TICKS: u64 = 300;

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
        if segment.rst {
            return self.reset(segment, mark, ctx);
        }
        match segment.ticket {
            None => self.without_ticket(segment, mark, ctx),
            Some(ticket) if ticket.kind == KIND_HAND_OFF => self.hand_off(segment, &ticket, mark, ctx),
            Some(ticket) => self.further(segment, &ticket, mark, ctx),
        }
    }

    fn reset(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        if mark != Some(Mark::Reset) {
            if self.phase() == phase::RELEASED && !self.is_live() {
                return self.give_back(segment, ctx);
            }
            self.close_flow();
        }
        self.kernel(segment, ctx);
    }

    fn without_ticket(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        let has_data = !segment.data.is_empty() || segment.fin;
        match self.phase() {
            phase::RETIRING if has_data => self.hold(segment, mark, ctx),
            phase::RELEASED if !self.is_live() => self.give_back(segment, ctx),
            _ if self.has_socket() => self.kernel(segment, ctx),
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
            Some(_) => self.retire(segment, Mark::Retired, ctx),
        }
    }

    fn accept(&mut self, segment: Segment, ticket: &Ticket, ctx: &mut Context) {
        ctx.trace.note(ctx.now, "accepts at", self.index, segment.seq);
        let number = ticket.number;
        let earlier = match self.flow {
            // A new connection's hand-offs are not those of an older one.
            Some(old) if number != 0 => {
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

    fn is_free(&self, segment: &Segment, ticket: &Ticket, mutation: Mutation) -> bool {
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

    fn is_release(&self, segment: &Segment, mutation: Mutation) -> bool {
        self.flow.is_some_and(|flow| {
            let is_any = mutation == Mutation::ReleaseWhateverAck;
            let ack = if is_any { flow.next_at } else { segment.acknowledged() };
            per_request::is_release(&flow, segment.seq, ack)
        })
    }

    fn begin_release(&mut self, segment: Segment, ctx: &mut Context) {
        ctx.trace.note(ctx.now, "retires at", self.index, segment.seq);
        if let Some(flow) = &mut self.flow {
            flow.phase = phase::RETIRING;
            flow.release_seq = segment.seq;
        }
        self.retire(segment, Mark::Held(0), ctx);
    }

    /// Queues a reset that is exact, and the segment behind it.
    fn retire(&mut self, segment: Segment, mark: Mark, ctx: &mut Context) {
        let Some(socket) = &self.socket else { return };
        let reset = Segment { rst: true, ..Segment::new(segment.connection, socket.expected(), None) };
        let delay = ctx.random.between(1, self.queue_ticks);
        if !(ctx.is_rough && ctx.random.hits(self.lost_reset_per_mille)) {
            let reset_mark = if mark == Mark::Retired { None } else { Some(Mark::Reset) };
            match reset_mark {
                Some(mark) => ctx.after(delay, Event::Queued(self.index, reset, mark)),
                None => ctx.after(delay, Event::Arrive(Link::ToServer(self.index), reset)),
            }
        }
        let delay = delay + ctx.random.between(0, self.queue_ticks);
        ctx.after(delay, Event::Queued(self.index, segment, mark));
    }

    /// The segment for which the connection is to be released, once the reset may have done its work.
    fn go_on_releasing(&mut self, segment: Segment, ticket: &Ticket, mark: Option<Mark>, ctx: &mut Context) {
        if !self.is_live() || ctx.mutation == Mutation::ReleaseBeforeDead {
            ctx.trace.note(ctx.now, "releases at", self.index, segment.seq);
            if let Some(flow) = &mut self.flow {
                flow.phase = phase::RELEASED;
            }
            return self.release(segment, ticket, ctx);
        }
        let was_served = self.socket.as_ref().is_some_and(|socket| socket.expected() != segment.seq);
        if was_served {
            ctx.trace.note(ctx.now, "calls off at", self.index, segment.seq);
            ctx.ledger.called_off += 1;
            if let Some(flow) = &mut self.flow {
                flow.phase = phase::ANSWERED;
            }
            return self.kernel(segment, ctx);
        }
        match mark {
            // The reset may have been lost.
            None => self.retire(segment, Mark::Held(1), ctx),
            Some(_) => self.hold(segment, mark, ctx),
        }
    }

    /// Queues data again until it is known who gets it.
    fn hold(&mut self, segment: Segment, mark: Option<Mark>, ctx: &mut Context) {
        let tries = if let Some(Mark::Held(tries)) = mark { tries } else { 0 };
        if tries < MOST_TRIES {
            let delay = ctx.random.between(1, self.queue_ticks);
            ctx.after(delay, Event::Queued(self.index, segment, Mark::Held(tries + 1)));
        }
    }

    fn release(&mut self, mut segment: Segment, ticket: &Ticket, ctx: &mut Context) {
        segment.ticket = Some(Ticket { kind: KIND_RELEASED, ..*ticket });
        ctx.send(Link::FromServer(self.index), segment);
    }

    fn give_back(&mut self, mut segment: Segment, ctx: &mut Context) {
        if segment.hops > 1 {
            segment.hops -= 1;
            ctx.ledger.returned += 1;
            ctx.send(Link::FromServer(self.index), segment);
        }
    }

    /// What passes the program.
    fn kernel(&mut self, segment: Segment, ctx: &mut Context) {
        let mut out = Vec::new();
        match &mut self.socket {
            Some(socket) if socket.state != State::Dead => socket.deliver(segment, &mut out),
            _ if segment.rst => {}
            _ => out.push(Segment::reset_for(&segment)),
        }
        self.finish_call(out, ctx);
    }

    /// The server's software runs.
    pub(crate) fn software(&mut self, number: u32, ctx: &mut Context) {
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.number == number) else { return };
        if !socket.is_live() || socket.software.has_closed() {
            return;
        }
        if self.call_ticks > 0 && ctx.random.hits(300) {
            socket.is_owned = true;
            let delay = ctx.random.between(1, self.call_ticks);
            return ctx.after(delay, Event::Unlock(self.index, number));
        }
        self.act(ctx);
        self.rest(number, ctx);
    }

    /// The software leaves a system call, at the end of which it may have written.
    pub(crate) fn unlock(&mut self, number: u32, ctx: &mut Context) {
        let Some(socket) = self.socket.as_ref().filter(|socket| socket.number == number) else { return };
        if socket.is_live() {
            self.act(ctx);
        }
        let mut out = Vec::new();
        if let Some(socket) = &mut self.socket {
            socket.release(&mut out);
        }
        self.finish_call(out, ctx);
        self.rest(number, ctx);
    }

    fn rest(&mut self, number: u32, ctx: &mut Context) {
        if let Some(socket) = &self.socket {
            let pause = socket.software.pause(&mut ctx.random);
            ctx.after(pause, Event::Software(self.index, number));
        }
    }

    fn act(&mut self, ctx: &mut Context) {
        let mut out = Vec::new();
        let Some(socket) = &mut self.socket else { return };
        let appetite = socket.software.appetite(&mut ctx.random);
        let bytes = socket.read(appetite);
        socket.software.take(bytes);
        let is_idle = socket.unread() == 0;
        let is_end = is_idle && socket.has_end();
        let act = socket.software.act(is_end, is_idle, &mut ctx.random, &mut ctx.ledger);
        match act {
            Act::Nothing => {}
            Act::Write(bytes) => socket.write(&bytes, &mut out),
            Act::Last(bytes) => {
                if !is_end || socket.software.has_more() {
                    ctx.ledger.close(socket.connection);
                }
                socket.write(&bytes, &mut out);
                let is_first = !socket.has_end();
                socket.software.note_closed(is_first);
                socket.close(&mut out);
            }
        }
        self.finish_call(out, ctx);
    }

    /// A server's retransmission timer.
    pub(crate) fn timer(&mut self, number: u32, ctx: &mut Context) {
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.number == number) else { return };
        socket.has_timer = false;
        if socket.state == State::TimeWait {
            socket.state = State::Dead;
            return;
        }
        let mut out = Vec::new();
        if socket.is_live() {
            socket.repeat(ctx.ledger.has_ended(socket.connection), &mut out);
        }
        self.finish_call(out, ctx);
    }

    /// Sends what a call into the kernel has made, and sets the timer.
    fn finish_call(&mut self, out: Vec<Segment>, ctx: &mut Context) {
        for segment in out {
            self.egress(segment, ctx);
        }
        let Some(socket) = &mut self.socket else { return };
        if socket.has_timer || !socket.needs_timer() {
            return;
        }
        let ticks = match socket.state {
            State::Live => TIMEOUT_TICKS << socket.repeated().min(MOST_DOUBLINGS),
            State::TimeWait => TIME_WAIT_TICKS,
            State::Dead => return,
        };
        socket.has_timer = true;
        ctx.after(ticks, Event::ServerTimer(self.index, socket.number));
    }

    /// One segment to the network.
    fn egress(&mut self, segment: Segment, ctx: &mut Context) {
        if let Some(flow) = &mut self.flow {
            flow.responded = 1;
            let is_new = !segment.data.is_empty() && per_request::is_after(segment.end(), flow.next_at);
            let is_end = segment.fin || segment.rst;
            if flow.phase == phase::RETIRING
                && (is_new || is_end)
                && ctx.mutation != Mutation::ReleaseThoughSpoilt
            {
                flow.phase = phase::CLOSED;
            }
            if flow.phase == phase::WAITING && !segment.data.is_empty() {
                flow.phase = phase::ANSWERED;
            }
            follow(flow, &segment);
            if is_end && matches!(flow.phase, phase::WAITING | phase::ANSWERED) {
                flow.phase = phase::CLOSED;
            }
        }
        ctx.send(Link::ServerToClient(self.index), segment);
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

/// Follows the responses of a connection through what is sent.
fn follow(flow: &mut ServerFlow, segment: &Segment) {
    while flow.framing == framing::HEAD {
        let offset = flow.next_at.wrapping_sub(segment.seq) as usize;
        let Some(first) = segment.data.get(offset) else { return };
        let is_whole = first.at == 0 && offset + usize::from(first.head) <= segment.data.len();
        if !is_whole || first.kind == Kind::EndlessResponse {
            flow.framing = framing::LOST;
            return;
        }
        flow.next_at = flow.next_at.wrapping_add(u32::from(first.total));
        flow.answered = flow.answered.wrapping_add(u8::from(first.kind != Kind::Interim));
    }
}

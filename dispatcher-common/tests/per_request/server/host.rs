//! What is beside a server's ingress: the kernel that takes what passes, the software that runs on its socket, timers, and the egress
//! program, which follows the responses.

use dispatcher_common::{
    per_request,
    server::{ServerFlow, framing, phase},
};

use super::Server;
use crate::{
    mutation::Mutation,
    network::Link,
    segment::{Kind, Segment},
    socket::State,
    software::Act,
    world::{Context, Event},
};

/// Ticks until a server's first repetition.
const TIMEOUT_TICKS: u64 = 50;

/// How often the time until a repetition doubles.
const MOST_DOUBLINGS: u32 = 3;

/// Ticks of a socket in TIME_WAIT.
const TIME_WAIT_TICKS: u64 = 300;

impl Server {
    /// What passes the program by itself: an acknowledgement may meet its connection's socket a little later, on another CPU.
    pub(super) fn pass(&mut self, segment: Segment, ctx: &mut Context) {
        if segment.data.is_empty() && !segment.fin && ctx.random.hits(100) {
            let delay = ctx.random.between(1, self.queue_ticks);
            return ctx.after(delay, Event::Passed(self.index, segment));
        }
        self.kernel(segment, ctx);
    }

    /// What passes the program.
    pub(crate) fn kernel(&mut self, segment: Segment, ctx: &mut Context) {
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
        let is_going = matches!(self.phase(), phase::RETIRING | phase::RELEASED);
        if segment.rst && is_going && ctx.mutation != Mutation::ResetWhileGoing {
            // Of something that was on its way to a socket which is gone: the client's connection lives elsewhere.
            return;
        }
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

//! The client: one connection after the other from the same port. Its TCP sends requests in all sorts of segments, repeats what is
//! not acknowledged, reads slowly and acknowledges late. Every byte that it accepts is judged by the `reader`.

use dispatcher_common::per_request::is_after;

use crate::{
    network::Link,
    outbox::Outbox,
    random::Random,
    reader::Reader,
    segment::{Byte, Kind, Segment, message},
    world::{Context, Event, Profile},
};

/// Most bytes in one segment of a client.
const MSS: usize = 24;

/// Ticks until the first repetition.
const TIMEOUT_TICKS: u64 = 40;

/// How often the time until a repetition doubles.
const MOST_DOUBLINGS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection, or its end was seen.
    Done,
    SynSent,
    Open,
    /// The client sent a RST and knows nothing of the connection any more.
    Aborted,
}

/// What this connection's software is like.
#[derive(Clone, Copy, Debug)]
struct Habits {
    requests: u16,
    /// Requests without a response at a time.
    depth: u16,
    /// Bytes that the socket has room for.
    room: u32,
    ack_delay_ticks: u64,
    pause_ticks: u64,
    body_per_mille: u64,
    chunked_per_mille: u64,
    joined_per_mille: u64,
    split_per_mille: u64,
    fin_early_per_mille: u64,
    abort_per_mille: u64,
}

/// The client with its present connection.
pub(crate) struct Client {
    connection: u32,
    state: State,
    habits: Habits,
    isn: u32,
    written: u16,
    outbox: Outbox,
    reader: Reader,
    generation: u32,
    is_ack_due: bool,
    /// When the latest connection's segments are gone.
    quiet_at: u64,
}

impl Client {
    pub(crate) fn new(ctx: &mut Context) -> Self {
        Self {
            connection: 0,
            state: State::Done,
            habits: habits(ctx),
            isn: 0,
            written: 0,
            outbox: Outbox::new(0),
            reader: Reader::new(0, 0, 0),
            generation: 0,
            is_ack_due: false,
            quiet_at: 0,
        }
    }

    pub(crate) fn connection(&self) -> u32 {
        self.connection
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Aborted)
    }

    /// Begins the next connection, once nothing of the one before is under way.
    pub(crate) fn connect(&mut self, ctx: &mut Context) {
        if ctx.now < self.quiet_at {
            return ctx.after(self.quiet_at - ctx.now, Event::Connect);
        }
        self.connection += 1;
        self.habits = habits(ctx);
        // The second connection's numbers wrap; all others are far from them.
        let random = ctx.random.next() as u32;
        self.isn = if self.connection == 2 { u32::MAX - random % 100 } else { random >> 1 | 1 << 20 };
        self.written = 0;
        self.outbox = Outbox::new(self.isn.wrapping_add(1));
        self.state = State::SynSent;
        ctx.ledger.progressed(ctx.now);
        self.send_syn(ctx);
    }

    fn send_syn(&mut self, ctx: &mut Context) {
        let syn = Segment { syn: true, ..Segment::new(self.connection, self.isn, None) };
        ctx.send(Link::ClientToFrontEnd, syn);
        self.start_timer(ctx);
    }

    /// The client's software: writes requests, reads responses, ends the connection.
    pub(crate) fn software(&mut self, connection: u32, ctx: &mut Context) {
        if self.is_other(connection) || self.state != State::Open {
            return;
        }
        let freed = self.reader.read(ctx.random.between(1, 40) as u32);
        if freed {
            self.send_ack(ctx);
        }
        if ctx.random.hits(self.habits.abort_per_mille) {
            return self.abort(ctx);
        }
        let is_over = self.reader.answered() == self.habits.requests || self.reader.has_timeout();
        if is_over || ctx.random.hits(self.habits.fin_early_per_mille) {
            self.outbox.finish();
        }
        while !self.outbox.is_finished() && self.may_write() {
            self.write(ctx);
            if !ctx.random.hits(700) {
                break;
            }
        }
        self.transmit(ctx);
        let pause = ctx.random.between(1, self.habits.pause_ticks);
        ctx.after(pause, Event::ClientSoftware(self.connection));
    }

    fn may_write(&self) -> bool {
        self.written < self.habits.requests && self.written - self.reader.answered() < self.habits.depth
    }

    /// Writes one request, whole or in two parts, perhaps right behind the one before.
    fn write(&mut self, ctx: &mut Context) {
        let random = &mut ctx.random;
        let head = random.between(2, 6) as u16;
        let has_body = random.hits(self.habits.body_per_mille);
        let body = if has_body { random.between(1, 40) as u16 } else { 0 };
        let is_chunked = has_body && random.hits(self.habits.chunked_per_mille);
        let first = Byte {
            connection: self.connection,
            kind: if is_chunked { Kind::ChunkedRequest } else { Kind::Request },
            request: self.written,
            server: 0,
            at: 0,
            head,
            total: head + body,
        };
        let bytes: Vec<Byte> = message(first).collect();
        let is_split = self.written > 0 && random.hits(self.habits.split_per_mille);
        if is_split {
            let (start, end) = bytes.split_at(random.between(1, bytes.len() as u64) as usize);
            self.outbox.write(start);
            self.outbox.write(end);
        } else if random.hits(self.habits.joined_per_mille) {
            self.outbox.append(&bytes);
        } else {
            self.outbox.write(&bytes);
        }
        self.written += 1;
    }

    /// Sends what may be sent for the first time.
    fn transmit(&mut self, ctx: &mut Context) {
        while let Some((seq, data, fin)) = self.outbox.next(MSS, 4 * MSS as u32) {
            self.send_data(seq, data, fin, ctx);
            self.start_timer(ctx);
        }
    }

    fn send_data(&mut self, seq: u32, data: Vec<Byte>, fin: bool, ctx: &mut Context) {
        let segment = Segment { data, fin, ..self.segment(seq) };
        ctx.send(Link::ClientToFrontEnd, segment);
        self.is_ack_due = false;
    }

    fn segment(&self, seq: u32) -> Segment {
        let window = self.habits.room.saturating_sub(self.reader.unread());
        Segment { window, ..Segment::new(self.connection, seq, Some(self.reader.expected())) }
    }

    fn send_ack(&mut self, ctx: &mut Context) {
        self.is_ack_due = false;
        let segment = self.segment(self.outbox.sent());
        ctx.send(Link::ClientToFrontEnd, segment);
    }

    /// A late acknowledgement is due.
    pub(crate) fn acknowledge(&mut self, connection: u32, ctx: &mut Context) {
        if !self.is_other(connection) && self.state == State::Open && self.is_ack_due {
            self.send_ack(ctx);
        }
    }

    fn start_timer(&mut self, ctx: &mut Context) {
        self.generation += 1;
        let ticks = TIMEOUT_TICKS << self.outbox.repeated().min(MOST_DOUBLINGS);
        ctx.after(ticks, Event::ClientTimer(self.connection, self.generation));
    }

    /// Repeats what was not acknowledged, with the newest acknowledgement, in segments of any size.
    pub(crate) fn timer(&mut self, connection: u32, generation: u32, ctx: &mut Context) {
        if self.is_other(connection) || generation != self.generation {
            return;
        }
        if self.state == State::SynSent {
            self.outbox.note_repetition();
            return self.send_syn(ctx);
        }
        let is_first = self.outbox.unacknowledged() == self.isn.wrapping_add(1);
        let cut = match ctx.random.between(0, 9) {
            0 if !is_first => Some(ctx.random.between(1, MSS as u64) as usize),
            1 | 2 => Some(MSS),
            _ => None,
        };
        if let Some((seq, data, fin)) = self.outbox.again(MSS, cut) {
            self.outbox.note_repetition();
            self.send_data(seq, data, fin, ctx);
            self.start_timer(ctx);
        }
    }

    /// A segment arrives.
    pub(crate) fn receive(&mut self, segment: &Segment, ctx: &mut Context) {
        match self.state {
            State::SynSent => self.finish_handshake(segment, ctx),
            State::Open => self.receive_open(segment, ctx),
            State::Done if segment.fin && segment.connection == self.connection => {
                // TIME_WAIT begins anew (RFC 9293 section 3.10.7.4).
                self.quiet_at = ctx.now + ctx.network.lifetime_ticks();
                self.send_ack(ctx);
            }
            State::Aborted if !segment.rst => {
                ctx.send(Link::ClientToFrontEnd, Segment::reset_for(segment));
            }
            _ => {}
        }
    }

    fn finish_handshake(&mut self, segment: &Segment, ctx: &mut Context) {
        if !segment.syn || segment.ack != Some(self.isn.wrapping_add(1)) {
            return;
        }
        self.state = State::Open;
        self.generation += 1;
        self.reader = Reader::new(self.connection, segment.seq.wrapping_add(1), self.habits.room);
        self.outbox.note_progress();
        self.send_ack(ctx);
        let pause = ctx.random.between(1, 20);
        ctx.after(pause, Event::ClientSoftware(self.connection));
    }

    fn receive_open(&mut self, segment: &Segment, ctx: &mut Context) {
        let expected = self.reader.expected();
        if segment.rst {
            if segment.seq == expected {
                self.reset(segment, ctx);
            }
            return;
        }
        if segment.syn || segment.ack.is_some_and(|ack| is_after(ack, self.outbox.sent())) {
            return self.send_ack(ctx);
        }
        if segment.ack.is_some_and(|ack| self.outbox.acknowledge(ack)) {
            ctx.ledger.progressed(ctx.now);
            self.start_timer(ctx);
            self.transmit(ctx);
        }
        let before = self.reader.answered();
        self.reader.receive(segment, &mut ctx.ledger);
        ctx.ledger.responses += u64::from(self.reader.answered() - before);
        if self.reader.expected() != expected {
            ctx.ledger.progressed(ctx.now);
        }
        if self.reader.is_finished() {
            return self.see_end(ctx);
        }
        if !segment.data.is_empty() {
            let delay = ctx.random.between(0, self.habits.ack_delay_ticks);
            self.is_ack_due = true;
            ctx.after(delay, Event::ClientAck(self.connection));
        } else if segment.seq != expected {
            self.send_ack(ctx);
        }
    }

    /// The server's side has ended: so does ours, once all is acknowledged or nobody will.
    fn see_end(&mut self, ctx: &mut Context) {
        if self.reader.answered() < self.written && !ctx.ledger.was_closed(self.connection) {
            let answered = self.reader.answered();
            ctx.ledger.break_rule(format!("the end came after {answered} of {} responses", self.written));
        }
        self.outbox.finish();
        self.send_ack(ctx);
        self.transmit(ctx);
        if self.outbox.is_over() || ctx.random.hits(300) {
            self.end(State::Done, ctx);
        }
    }

    fn reset(&mut self, segment: &Segment, ctx: &mut Context) {
        if !ctx.ledger.was_closed(self.connection) {
            ctx.ledger.break_rule(format!("a reset at {:#x} that no server has caused", segment.seq));
        }
        self.end(State::Done, ctx);
    }

    fn abort(&mut self, ctx: &mut Context) {
        let segment = Segment { rst: true, ..self.segment(self.outbox.sent()) };
        ctx.send(Link::ClientToFrontEnd, segment);
        ctx.ledger.close(self.connection);
        self.end(State::Aborted, ctx);
    }

    /// The user loses patience with a server that has closed without being heard.
    pub(crate) fn give_up(&mut self, ctx: &mut Context) {
        self.end(State::Done, ctx);
    }

    fn end(&mut self, state: State, ctx: &mut Context) {
        self.state = state;
        self.generation += 1;
        ctx.ledger.connections += 1;
        ctx.ledger.cut += u64::from(self.reader.answered() < self.habits.requests);
        if ctx.is_rough {
            let pause = ctx.random.between(0, 1) * ctx.random.between(1, 400);
            ctx.after(ctx.network.lifetime_ticks() + pause, Event::Connect);
        }
    }

    fn is_other(&self, connection: u32) -> bool {
        connection != self.connection
    }
}

fn habits(ctx: &mut Context) -> Habits {
    let Profile { pipelining_per_mille, most_chunked_per_mille, .. } = ctx.profile;
    let random = &mut ctx.random;
    let now_and_then = |random: &mut Random, most| random.between(0, 1) * random.between(0, most);
    let deep = random.hits(pipelining_per_mille);
    Habits {
        requests: random.between(1, 24) as u16,
        depth: if deep { random.between(2, 16) as u16 } else { 1 },
        room: random.between(16, 200) as u32,
        ack_delay_ticks: random.between(0, 20),
        pause_ticks: 8 + random.between(0, 1) * random.between(0, 60),
        body_per_mille: now_and_then(random, 500),
        chunked_per_mille: now_and_then(random, most_chunked_per_mille),
        joined_per_mille: now_and_then(random, 500),
        split_per_mille: now_and_then(random, 100),
        fin_early_per_mille: now_and_then(random, 10),
        abort_per_mille: now_and_then(random, 4),
    }
}

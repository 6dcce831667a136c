//! A server's kernel socket: TCP without options, with a backlog for what arrives while the server's software is in a system call.

use std::collections::VecDeque;

use dispatcher_common::per_request::{self, is_after};

use crate::{
    inbox::Inbox,
    outbox::Outbox,
    segment::{Byte, Segment},
    software::Software,
};

/// Most bytes in one segment of a server.
const MSS: usize = 16;

/// How far off a sequence number may be to be of the same connection.
pub(crate) const PLAUSIBLE: u32 = 1 << 14;

/// Bytes of the client that the socket has room for.
const ROOM: u32 = 1 << 12;

/// Repetitions after which the kernel gives a connection up.
const MOST_REPETITIONS: u32 = 12;

/// Whether two sequence numbers can be of one connection.
pub(crate) fn is_plausible(seq: u32, expected: u32) -> bool {
    seq.wrapping_sub(expected).wrapping_add(PLAUSIBLE) < 2 * PLAUSIBLE
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Anything from ESTABLISHED to LAST_ACK.
    Live,
    TimeWait,
    Dead,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) number: u32,
    pub(crate) connection: u32,
    pub(crate) state: State,
    inbox: Inbox,
    unread: VecDeque<Byte>,
    outbox: Outbox,
    window: u32,
    /// Whether the software is in a system call.
    pub(crate) is_owned: bool,
    backlog: VecDeque<Segment>,
    pub(crate) has_timer: bool,
    pub(crate) software: Software,
}

impl Socket {
    /// What becomes of a segment whose ticket was good.
    pub(crate) fn accept(number: u32, segment: &Segment, software: Software) -> Self {
        Self {
            number,
            connection: segment.connection,
            state: State::Live,
            inbox: Inbox::new(segment.seq),
            unread: VecDeque::new(),
            outbox: Outbox::new(segment.acknowledged()),
            window: segment.window,
            is_owned: false,
            backlog: VecDeque::new(),
            has_timer: false,
            software,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    pub(crate) fn expected(&self) -> u32 {
        self.inbox.expected()
    }

    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// Whether the client has closed its side.
    pub(crate) fn has_end(&self) -> bool {
        self.inbox.is_finished()
    }

    pub(crate) fn has_finished(&self) -> bool {
        self.outbox.is_finished()
    }

    pub(crate) fn repeated(&self) -> u32 {
        self.outbox.repeated()
    }

    /// Whether something is to be repeated, asked for or waited for.
    pub(crate) fn needs_timer(&self) -> bool {
        self.outbox.is_waiting() || self.outbox.has_more() || self.has_finished()
    }

    /// What the server's program reads of it.
    pub(crate) fn seen(&self) -> per_request::Socket {
        per_request::Socket {
            is_established: self.is_live() && !self.has_end() && !self.has_finished(),
            rcv_nxt: self.expected(),
            copied_seq: self.expected().wrapping_sub(self.unread.len() as u32),
            write_seq: self.outbox.written(),
            nothing_ahead: !self.inbox.has_gap(),
        }
    }

    /// The software reads.
    pub(crate) fn read(&mut self, most: usize) -> Vec<Byte> {
        self.unread.drain(..most.min(self.unread.len())).collect()
    }

    /// The software writes.
    pub(crate) fn write(&mut self, bytes: &[Byte], out: &mut Vec<Segment>) {
        self.outbox.write(bytes);
        self.transmit(out);
    }

    /// The software closes: with a reset if it left something unread (RFC 2525 section 2.17).
    pub(crate) fn close(&mut self, out: &mut Vec<Segment>) {
        if self.unread.is_empty() {
            self.outbox.finish();
            self.transmit(out);
        } else {
            out.push(Segment { rst: true, ..self.segment(self.outbox.sent()) });
            self.state = State::Dead;
        }
    }

    /// The kernel gives a segment to the socket.
    pub(crate) fn deliver(&mut self, segment: Segment, out: &mut Vec<Segment>) {
        if self.is_owned {
            self.backlog.push_back(segment);
        } else {
            self.process(&segment, out);
        }
    }

    /// The software leaves its system call.
    pub(crate) fn release(&mut self, out: &mut Vec<Segment>) {
        self.is_owned = false;
        while let Some(segment) = self.backlog.pop_front() {
            self.process(&segment, out);
        }
    }

    fn process(&mut self, segment: &Segment, out: &mut Vec<Segment>) {
        if self.state == State::Dead || !is_plausible(segment.seq, self.expected()) {
            return;
        }
        if segment.rst {
            // Only an exact one counts (RFC 5961 section 3.2).
            if segment.seq == self.expected() {
                self.state = State::Dead;
            }
            return;
        }
        self.take_ack(segment);
        let before = self.expected();
        let is_news = is_after(segment.end(), before);
        if is_news && !segment.data.is_empty() && self.has_finished() {
            // Data for software that has closed.
            out.push(Segment::reset_for(segment));
            self.state = State::Dead;
            return;
        }
        let bytes = self.inbox.receive(segment, ROOM);
        self.unread.extend(bytes);
        self.transmit(out);
        let is_probe = segment.seq.wrapping_add(1) == before;
        if !segment.data.is_empty() || segment.fin || is_probe {
            out.push(self.segment(self.outbox.sent()));
        }
        if self.outbox.is_over() && self.has_end() {
            self.state = if self.software.has_closed_first() { State::TimeWait } else { State::Dead };
        }
    }

    fn take_ack(&mut self, segment: &Segment) {
        let ack = segment.acknowledged();
        self.outbox.acknowledge(ack);
        if ack == self.outbox.unacknowledged() {
            self.window = segment.window;
        }
    }

    fn transmit(&mut self, out: &mut Vec<Segment>) {
        while let Some((seq, data, fin)) = self.outbox.next(MSS, self.window) {
            out.push(Segment { data, fin, ..self.segment(seq) });
        }
    }

    fn segment(&self, seq: u32) -> Segment {
        Segment::new(self.connection, seq, Some(self.expected()))
    }

    /// Repeats what is not acknowledged, or asks whether the window is open again. Nobody gives up a connection that its client
    /// still has, or a stuck one would look like one that was closed.
    pub(crate) fn repeat(&mut self, may_give_up: bool, out: &mut Vec<Segment>) {
        if may_give_up && self.outbox.repeated() >= MOST_REPETITIONS {
            self.state = State::Dead;
            return;
        }
        if let Some((seq, data, fin)) = self.outbox.again(MSS, None) {
            self.outbox.note_repetition();
            out.push(Segment { data, fin, ..self.segment(seq) });
        } else if self.outbox.has_more() {
            out.push(self.segment(self.outbox.unacknowledged().wrapping_sub(1)));
        } else if self.has_finished() {
            // An orphan in FIN_WAIT_2 is not waited for without end.
            self.outbox.note_repetition();
        }
    }
}

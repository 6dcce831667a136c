//! A server's software: reads requests one by one, answers each in pieces with pauses, closes idle connections when it likes, and
//! may say that it does. Owns no socket: it is asked for its next act.

use std::collections::VecDeque;

use crate::{
    ledger::Ledger,
    random::Random,
    segment::{Byte, Kind, message},
};

/// What this server's software is like, in its treatment of one connection.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Ticks between two acts.
    pause_ticks: u64,
    answer_per_mille: u64,
    whole_per_mille: u64,
    read_per_mille: u64,
    interim_per_mille: u64,
    endless_per_mille: u64,
    idle_close_per_mille: u64,
}

/// What the software does with its socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Write(Vec<Byte>),
    /// Writes and closes.
    Last(Vec<Byte>),
}

/// The software of one connection.
#[derive(Debug)]
pub(crate) struct Software {
    server: u8,
    connection: u32,
    habits: Habits,
    read: VecDeque<Byte>,
    /// What is left of a response, and whether the connection ends with it.
    answer: VecDeque<Byte>,
    is_last: bool,
    has_closed: bool,
    has_closed_first: bool,
}

impl Software {
    pub(crate) fn new(server: usize, connection: u32, random: &mut Random) -> Self {
        Self {
            server: server as u8,
            connection,
            habits: habits(random),
            read: VecDeque::new(),
            answer: VecDeque::new(),
            is_last: false,
            has_closed: false,
            has_closed_first: false,
        }
    }

    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Whether it has read something that it has not answered to the end.
    pub(crate) fn is_busy(&self) -> bool {
        !self.answer.is_empty() || !self.read.is_empty()
    }

    /// Whether requests were read and not answered.
    pub(crate) fn has_more(&self) -> bool {
        !self.read.is_empty()
    }

    /// Whether it closed before the client did.
    pub(crate) fn has_closed_first(&self) -> bool {
        self.has_closed_first
    }

    pub(crate) fn note_closed(&mut self, is_first: bool) {
        self.has_closed = true;
        self.has_closed_first = is_first;
    }

    pub(crate) fn pause(&self, random: &mut Random) -> u64 {
        random.between(1, self.habits.pause_ticks)
    }

    /// How many bytes it reads now.
    pub(crate) fn appetite(&self, random: &mut Random) -> usize {
        if random.hits(self.habits.read_per_mille) { random.between(1, 100) as usize } else { 0 }
    }

    pub(crate) fn take(&mut self, bytes: Vec<Byte>) {
        self.read.extend(bytes);
    }

    /// The next act; `is_end` says that the client has closed and nothing is unread, `is_idle` that nothing is unread.
    pub(crate) fn act(
        &mut self,
        is_end: bool,
        is_idle: bool,
        random: &mut Random,
        ledger: &mut Ledger,
    ) -> Act {
        if self.answer.is_empty() && !self.is_last {
            self.begin_answer(random, ledger);
        }
        if !self.answer.is_empty() || self.is_last {
            return self.go_on(random);
        }
        if is_end && self.read.is_empty() {
            return Act::Last(Vec::new());
        }
        if is_idle && self.read.is_empty() && random.hits(self.habits.idle_close_per_mille) {
            return Act::Last(if random.hits(500) { self.timeout() } else { Vec::new() });
        }
        Act::Nothing
    }

    fn go_on(&mut self, random: &mut Random) -> Act {
        let is_whole = random.hits(self.habits.whole_per_mille);
        let head = self.answer.front().map_or(0, |byte| byte.head.saturating_sub(byte.at));
        let most = self.answer.len() as u64;
        let split_head = random.hits(20);
        let least = if split_head { 1 } else { u64::from(head).max(1) };
        let len = if is_whole || most <= least { most } else { random.between(least, most) };
        let piece = self.answer.drain(..len as usize).collect();
        if self.answer.is_empty() && self.is_last { Act::Last(piece) } else { Act::Write(piece) }
    }

    fn begin_answer(&mut self, random: &mut Random, ledger: &mut Ledger) {
        let Some(first) = self.read.front().copied() else { return };
        let total = usize::from(first.total);
        let is_sound = first.connection == self.connection && first.at == 0;
        let is_one = self.read.iter().take(total).zip(message(first)).all(|(byte, right)| *byte == right);
        if !is_sound || !is_one {
            ledger.break_rule(format!("server {} reads {first:?} where a request begins", self.server));
        }
        if self.read.len() < total || !random.hits(self.habits.answer_per_mille) {
            return;
        }
        self.read.drain(..total);
        ledger.execute(self.connection, first.request, usize::from(self.server));
        let is_endless = random.hits(self.habits.endless_per_mille);
        if random.hits(self.habits.interim_per_mille) {
            self.answer.extend(self.message(Kind::Interim, first.request, 2, 0));
        }
        let kind = if is_endless { Kind::EndlessResponse } else { Kind::Response };
        let body = random.between(0, 1) * random.between(0, 70);
        let head = random.between(1, 5) as u16;
        self.answer.extend(self.message(kind, first.request, head, body as u16));
        self.is_last = is_endless;
    }

    fn timeout(&self) -> Vec<Byte> {
        self.message(Kind::Timeout, u16::MAX, 3, 2).collect()
    }

    fn message(&self, kind: Kind, request: u16, head: u16, body: u16) -> impl Iterator<Item = Byte> + use<> {
        let Self { server, connection, .. } = *self;
        message(Byte { connection, kind, request, server, at: 0, head, total: head + body })
    }
}

fn habits(random: &mut Random) -> Habits {
    Habits {
        pause_ticks: random.between(0, 2) * 40 + random.between(1, 5),
        answer_per_mille: random.between(100, 1000),
        whole_per_mille: random.between(0, 1000),
        read_per_mille: random.between(200, 1000),
        interim_per_mille: random.between(0, 1) * random.between(0, 300),
        endless_per_mille: random.between(0, 1) * random.between(0, 60),
        idle_close_per_mille: random.between(0, 1) * random.between(0, 80),
    }
}

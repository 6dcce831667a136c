//! The client's receiving side, and the judge of what it accepts: each response must be whole, from one server, and the answer to its
//! request, as on a connection to one server.

use dispatcher_common::per_request::is_after;

use crate::{
    inbox::Inbox,
    ledger::Ledger,
    segment::{Byte, Kind, Segment},
};

/// What a client reads on one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: u32,
    inbox: Inbox,
    first: u32,
    /// Bytes that the socket has room for.
    room: u32,
    unread: u32,
    answered: u16,
    /// The last byte of a message that is not complete.
    under_way: Option<Byte>,
    has_timeout: bool,
    /// All that was accepted, by its distance from the first sequence number.
    accepted: Vec<Byte>,
}

impl Reader {
    pub(crate) fn new(connection: u32, first: u32, room: u32) -> Self {
        Self {
            connection,
            inbox: Inbox::new(first),
            first,
            room,
            unread: 0,
            answered: 0,
            under_way: None,
            has_timeout: false,
            accepted: Vec::new(),
        }
    }

    pub(crate) fn expected(&self) -> u32 {
        self.inbox.expected()
    }

    pub(crate) fn answered(&self) -> u16 {
        self.answered
    }

    pub(crate) fn unread(&self) -> u32 {
        self.unread
    }

    pub(crate) fn has_timeout(&self) -> bool {
        self.has_timeout
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.inbox.is_finished()
    }

    /// The software reads; tells whether the window has opened.
    pub(crate) fn read(&mut self, most: u32) -> bool {
        let was_closed = self.unread >= self.room;
        self.unread -= most.min(self.unread);
        was_closed && self.unread < self.room
    }

    pub(crate) fn receive(&mut self, segment: &Segment, ledger: &mut Ledger) {
        self.compare_with_accepted(segment, ledger);
        let window = self.room.saturating_sub(self.unread);
        for byte in self.inbox.receive(segment, window) {
            self.unread += 1;
            self.accept(byte, ledger);
        }
        let is_cut = self.under_way.is_some_and(|byte| byte.kind != Kind::EndlessResponse);
        if self.is_finished() && is_cut {
            ledger.break_rule(format!("the end came inside a response: {:?}", self.under_way));
        }
    }

    /// What was accepted once must not come again as something else: then two servers wrote at the same place.
    fn compare_with_accepted(&self, segment: &Segment, ledger: &mut Ledger) {
        for (offset, byte) in (0..).zip(&segment.data) {
            let seq = segment.seq.wrapping_add(offset);
            if is_after(self.first, seq) {
                continue;
            }
            let accepted = self.accepted.get(seq.wrapping_sub(self.first) as usize);
            if accepted.is_some_and(|accepted| accepted != byte) {
                ledger.break_rule(format!("{byte:?} at {seq:#x}, where {accepted:?} was"));
            }
        }
    }

    fn accept(&mut self, byte: Byte, ledger: &mut Ledger) {
        self.accepted.push(byte);
        let is_next = match self.under_way {
            Some(before) => byte == Byte { at: before.at + 1, ..before },
            None => byte.at == 0 && self.may_begin(byte),
        };
        if byte.connection != self.connection || !is_next {
            ledger.break_rule(format!("{byte:?} after {:?} and {} responses", self.under_way, self.answered));
        }
        self.under_way = Some(byte);
        if byte.at + 1 == byte.total {
            self.complete(byte, ledger);
        }
    }

    fn may_begin(&self, byte: Byte) -> bool {
        match byte.kind {
            Kind::Timeout => !self.has_timeout,
            Kind::Response | Kind::EndlessResponse | Kind::Interim => {
                byte.request == self.answered && !self.has_timeout
            }
            Kind::Request | Kind::ChunkedRequest => false,
        }
    }

    fn complete(&mut self, byte: Byte, ledger: &mut Ledger) {
        self.under_way = None;
        match byte.kind {
            Kind::Response | Kind::EndlessResponse => {
                if !ledger.was_executed(byte.connection, byte.request) {
                    ledger.break_rule(format!("{byte:?} was never executed"));
                }
                self.answered += 1;
            }
            Kind::Timeout => self.has_timeout = true,
            _ => {}
        }
    }
}

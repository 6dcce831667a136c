//! What a TCP has to send: bytes that were written and not acknowledged, cut where their writer cut them.

use std::collections::VecDeque;

use dispatcher_common::per_request::is_after;

use crate::segment::Byte;

/// The sending half of a socket. Sequence numbers are of the stream; a FIN counts as one.
#[derive(Debug)]
pub(crate) struct Outbox {
    unacknowledged: u32,
    /// What was sent ends here, FIN included.
    sent: u32,
    /// From `unacknowledged` on.
    bytes: VecDeque<Byte>,
    /// Sequence numbers at which a write ended.
    cuts: VecDeque<u32>,
    is_finished: bool,
    fin: Fin,
    repeated: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    Unsent,
    Sent,
    Acknowledged,
}

/// What goes into a segment: where it starts, its bytes, whether the stream ends with it.
type Part = (u32, Vec<Byte>, bool);

impl Outbox {
    pub(crate) fn new(seq: u32) -> Self {
        Self {
            unacknowledged: seq,
            sent: seq,
            bytes: VecDeque::new(),
            cuts: VecDeque::new(),
            is_finished: false,
            fin: Fin::Unsent,
            repeated: 0,
        }
    }

    pub(crate) fn unacknowledged(&self) -> u32 {
        self.unacknowledged
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    /// Where the next byte that is written will be.
    pub(crate) fn written(&self) -> u32 {
        self.unacknowledged.wrapping_add(self.bytes.len() as u32)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether something was sent and not acknowledged.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unacknowledged != self.sent
    }

    /// Whether something was never sent.
    pub(crate) fn has_more(&self) -> bool {
        self.fin == Fin::Unsent && (self.is_finished || self.sent != self.written())
    }

    /// Whether the other side has all, and the end too.
    pub(crate) fn is_over(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    pub(crate) fn repeated(&self) -> u32 {
        self.repeated
    }

    pub(crate) fn note_repetition(&mut self) {
        self.repeated += 1;
    }

    pub(crate) fn note_progress(&mut self) {
        self.repeated = 0;
    }

    /// Writes bytes that get a segment of their own, if it has room for them.
    pub(crate) fn write(&mut self, bytes: &[Byte]) {
        self.bytes.extend(bytes);
        self.cuts.push_back(self.written());
    }

    /// Writes bytes that go with those before them, as far as those were not sent.
    pub(crate) fn append(&mut self, bytes: &[Byte]) {
        self.cuts.pop_back();
        self.write(bytes);
    }

    /// Nothing more will be written.
    pub(crate) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The next part to be sent for the first time, with at most so many bytes under way.
    pub(crate) fn next(&mut self, mss: usize, window: u32) -> Option<Part> {
        if !self.has_more() {
            return None;
        }
        let under_way = self.sent.wrapping_sub(self.unacknowledged);
        let room = window.saturating_sub(under_way) as usize;
        let len = self.up_to_cut(self.sent).min(mss).min(room);
        let (data, fin) = self.part(self.sent, len);
        if data.is_empty() && !fin {
            return None;
        }
        let seq = self.sent;
        self.sent = seq.wrapping_add(data.len() as u32 + u32::from(fin));
        if fin {
            self.fin = Fin::Sent;
        }
        Some((seq, data, fin))
    }

    /// The oldest part that was sent and not acknowledged: of so many bytes, or as it was cut at first if none are given.
    pub(crate) fn again(&self, mss: usize, len: Option<usize>) -> Option<Part> {
        if !self.is_waiting() {
            return None;
        }
        let seq = self.unacknowledged;
        let under_way = self.sent.wrapping_sub(seq) as usize;
        let len = len.unwrap_or_else(|| self.up_to_cut(seq));
        let (data, fin) = self.part(seq, len.min(mss).min(under_way));
        Some((seq, data, fin && self.fin == Fin::Sent))
    }

    /// Takes an acknowledgement; tells whether it was news.
    pub(crate) fn acknowledge(&mut self, ack: u32) -> bool {
        if !is_after(ack, self.unacknowledged) || is_after(ack, self.sent) {
            return false;
        }
        if self.fin == Fin::Sent && ack == self.sent {
            self.fin = Fin::Acknowledged;
        }
        let count = ack.wrapping_sub(self.unacknowledged) as usize;
        self.bytes.drain(..count.min(self.bytes.len()));
        self.unacknowledged = ack;
        while self.cuts.front().is_some_and(|cut| !is_after(*cut, ack)) {
            self.cuts.pop_front();
        }
        self.repeated = 0;
        true
    }

    /// Bytes from `seq` on, and whether they are the last.
    fn part(&self, seq: u32, len: usize) -> (Vec<Byte>, bool) {
        let start = seq.wrapping_sub(self.unacknowledged) as usize;
        let data: Vec<Byte> = self.bytes.iter().skip(start).take(len).copied().collect();
        let is_last = self.is_finished && start + data.len() >= self.bytes.len();
        (data, is_last)
    }

    fn up_to_cut(&self, seq: u32) -> usize {
        let cut = self.cuts.iter().find(|cut| is_after(**cut, seq));
        cut.map_or(usize::MAX, |cut| cut.wrapping_sub(seq) as usize)
    }
}

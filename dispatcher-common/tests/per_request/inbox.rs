//! What a TCP has received: bytes in order, and those that lie ahead of a gap.

use std::collections::BTreeMap;

use dispatcher_common::per_request::is_after;

use crate::segment::{Byte, Segment};

/// The receiving half of a socket.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// The next byte that is expected; a FIN that was received counts as one.
    expected: u32,
    /// Bytes ahead of a gap, by their distance from the first sequence number.
    ahead: BTreeMap<u32, Byte>,
    first: u32,
    fin: Option<u32>,
}

impl Inbox {
    pub(crate) fn new(first: u32) -> Self {
        Self { expected: first, ahead: BTreeMap::new(), first, fin: None }
    }

    pub(crate) fn expected(&self) -> u32 {
        self.expected
    }

    pub(crate) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether the other side's FIN came, and all before it.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.expected == fin.wrapping_add(1))
    }

    /// Takes what is new of a segment and not beyond a window; gives the bytes that are in order now.
    pub(crate) fn receive(&mut self, segment: &Segment, window: u32) -> Vec<Byte> {
        let limit = self.expected.wrapping_add(window);
        for (offset, byte) in (0..).zip(&segment.data) {
            self.take(*byte, segment.seq.wrapping_add(offset), limit);
        }
        if segment.fin && !is_after(segment.end(), limit) && !is_after(self.expected, segment.end()) {
            self.fin = Some(segment.end());
        }
        let mut in_order = Vec::new();
        while let Some(byte) = self.ahead.remove(&self.expected.wrapping_sub(self.first)) {
            self.expected = self.expected.wrapping_add(1);
            in_order.push(byte);
        }
        if self.fin == Some(self.expected) {
            self.expected = self.expected.wrapping_add(1);
        }
        in_order
    }

    fn take(&mut self, byte: Byte, seq: u32, limit: u32) {
        if !is_after(self.expected, seq) && is_after(limit, seq) {
            self.ahead.entry(seq.wrapping_sub(self.first)).or_insert(byte);
        }
    }
}

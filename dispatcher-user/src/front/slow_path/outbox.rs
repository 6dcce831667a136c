//! Frames that the slow path built and has not sent yet, in order, in one buffer that is used again for the next batch.

use std::ops::Range;

/// Which way a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Built frames.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    frames: Vec<(Side, Range<usize>)>,
}

impl Outbox {
    /// Adds a frame that `build` appends to the buffer. Returns its length.
    pub(super) fn build(&mut self, side: Side, build: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        build(&mut self.bytes);
        self.frames.push((side, start..self.bytes.len()));
        self.bytes.len() - start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = (Side, &[u8])> {
        self.frames.iter().map(|(side, range)| (*side, &self.bytes[range.clone()]))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }
}

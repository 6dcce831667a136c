//! The way through what a server sends on one connection: from response to response, and from chunk to chunk. Pure: it is given
//! the data of one segment after the other, in order, and says when a response begins and what it cannot understand.
//!
//! Every head has to lie whole in one segment, of up to 64 KiB before the network card cuts it. Data that was sent before is
//! known by its sequence numbers and not looked at again.

use crate::{
    head_scan::Step,
    per_request::is_after,
    response_scan::{Body, Chunk, MAX_CHUNK_HEAD, MAX_HEAD, ResponseScan, chunk},
    server::framing,
    words::Words,
};

/// Heads and chunks of one segment that are followed.
pub const MAX_THINGS: u32 = 64;

/// Lines of a head that are looked at in one step. The programs' steps are calls, which cost as much as half a line.
const LINES: usize = 16;

/// Steps that suffice for all of them, as long as they are of usual size.
pub const MAX_STEPS: u32 = 4096;

/// The data of one segment.
pub trait Data: Words {
    /// Makes `len` bytes, 1 to [`MAX_HEAD`], from an offset of the data on what the words are; tells whether it could.
    fn load(&mut self, offset: u32, len: u32) -> bool;
}

/// What a step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to look at.
    More,
    /// There is more to look at, and the head of a response was passed. That of an interim one does not count.
    Answered,
    /// All of the segment was looked at.
    Done,
    /// Where the response ends cannot be told; nothing is followed any more.
    Lost,
}

/// A way through one segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseWalk {
    scan: ResponseScan,
    /// Sequence numbers of the segment's first byte, and after its last.
    seq: u32,
    end: u32,
    /// As in [`ServerFlow`](crate::server::ServerFlow): where the next head or chunk begins, and which of them it is.
    pub next_at: u32,
    pub framing: u32,
    /// Whether the scan of a head is under way.
    is_in_head: u32,
    things: u32,
}

impl ResponseWalk {
    /// Begins with the data from `seq` to before `end`, whatever was walked before.
    #[inline(always)]
    pub fn start(&mut self, next_at: u32, framing: u8, seq: u32, end: u32) {
        (self.next_at, self.framing) = (next_at, framing as u32);
        (self.seq, self.end) = (seq, end);
        (self.is_in_head, self.things) = (0, 0);
    }

    /// Goes on. `is_head` is whether the response that comes next, or that is under way, is to a `HEAD`.
    #[inline(always)]
    pub fn step(&mut self, data: &mut impl Data, is_head: bool) -> Next {
        let mut next = if self.is_in_head == 0 { self.thing(data) } else { Next::More };
        if next == Next::More && self.is_in_head != 0 {
            next = self.head(data, is_head);
        }
        if next == Next::Lost {
            self.framing = framing::LOST as u32;
        }
        next
    }

    #[inline(always)]
    fn thing(&mut self, data: &mut impl Data) -> Next {
        if !is_after(self.end, self.next_at) {
            return Next::Done;
        }
        self.things += 1;
        // What comes after a gap is not understood.
        if is_after(self.seq, self.next_at) || self.things > MAX_THINGS {
            return Next::Lost;
        }
        let is_chunk = self.framing == framing::CHUNK as u32;
        let most = if is_chunk { MAX_CHUNK_HEAD } else { MAX_HEAD } as u32;
        let rest = self.end.wrapping_sub(self.next_at);
        if !data.load(self.next_at.wrapping_sub(self.seq), if rest < most { rest } else { most }) {
            return Next::Lost;
        }
        if is_chunk {
            return self.chunk(data);
        }
        self.scan.start();
        self.is_in_head = 1;
        Next::More
    }

    #[inline(always)]
    fn head(&mut self, data: &impl Data, is_head: bool) -> Next {
        match self.scan.steps(LINES, data) {
            Step::More => return Next::More,
            Step::Unusual => return Next::Lost,
            Step::End => self.is_in_head = 0,
        }
        let head_len = self.scan.head_len();
        let (len, next) = match self.scan.body(is_head) {
            Body::Interim => (0, Next::More),
            Body::Length(len) => (len, Next::Answered),
            Body::Chunked => {
                self.framing = framing::CHUNK as u32;
                (0, Next::Answered)
            }
            Body::Unknown => return Next::Lost,
        };
        self.next_at = self.next_at.wrapping_add(head_len).wrapping_add(len);
        next
    }

    #[inline(always)]
    fn chunk(&mut self, data: &impl Data) -> Next {
        let len = match chunk(data) {
            Chunk::Next(len) => len,
            Chunk::Last(len) => {
                self.framing = framing::HEAD as u32;
                len
            }
            Chunk::Unusual => return Next::Lost,
        };
        self.next_at = self.next_at.wrapping_add(len);
        Next::More
    }
}

#[cfg(test)]
mod tests;

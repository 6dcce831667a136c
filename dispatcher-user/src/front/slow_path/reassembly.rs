//! Puts a flow's first bytes in order: a contiguous beginning and pieces beyond it, within a limit. The first copy of a byte
//! wins, so a repeated segment with other content cannot change what was judged before.

use std::ops::Range;

/// Pieces with gaps between them that one flow may hold; a window of 20 segments that comes in reverse needs one.
const MAX_PIECES: usize = 64;

/// Memory grows in steps of this many bytes.
const GROWTH_BYTES: usize = 2048;

/// Bytes of one flow, from its first request byte on.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    bytes: Vec<u8>,
    /// What is filled, ascending, with gaps between.
    pieces: Vec<Range<usize>>,
    /// Where the client's FIN stands.
    fin: Option<usize>,
}

/// The bytes would make too many pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyPieces;

impl Reassembly {
    /// The bytes from the beginning to the first gap.
    pub(super) fn contiguous(&self) -> &[u8] {
        match self.pieces.first() {
            Some(piece) if piece.start == 0 => &self.bytes[..piece.end],
            _ => &[],
        }
    }

    /// Whether the FIN directly follows the contiguous bytes.
    pub(super) fn fin_reached(&self) -> bool {
        self.fin == Some(self.contiguous().len())
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Memory that would be in use with bytes up to `end`.
    pub(super) fn memory_with(&self, end: usize, limit: usize) -> usize {
        let needed = end.min(limit).next_multiple_of(GROWTH_BYTES).min(limit);
        needed.max(self.bytes.capacity())
    }

    /// Adds bytes at an offset. What lies beyond `limit` is left out: the client was not told that it arrived.
    pub(super) fn insert(
        &mut self,
        offset: usize,
        bytes: &[u8],
        fin: bool,
        limit: usize,
    ) -> Result<(), TooManyPieces> {
        let end = (offset + bytes.len()).min(limit);
        if offset < end {
            let new = offset..end;
            let first = self.pieces.partition_point(|piece| piece.end < new.start);
            let after = self.pieces.partition_point(|piece| piece.start <= new.end);
            if first == after && self.pieces.len() == MAX_PIECES {
                return Err(TooManyPieces);
            }
            self.grow(end, limit);
            self.fill(&new, &bytes[..end - offset], first..after);
        }
        if fin && offset + bytes.len() <= limit {
            self.fin.get_or_insert(offset + bytes.len());
        }
        Ok(())
    }

    fn grow(&mut self, end: usize, limit: usize) {
        if end > self.bytes.len() {
            self.bytes.reserve_exact(self.memory_with(end, limit) - self.bytes.len());
            self.bytes.resize(end, 0);
        }
    }

    /// Copies into the gaps of `new` and merges it with the pieces that it touches.
    fn fill(&mut self, new: &Range<usize>, bytes: &[u8], touched: Range<usize>) {
        let mut merged = new.clone();
        let mut at = new.start;
        for piece in &self.pieces[touched.clone()] {
            if at < piece.start {
                self.bytes[at..piece.start].copy_from_slice(&bytes[at - new.start..piece.start - new.start]);
            }
            at = at.max(piece.end);
            merged = merged.start.min(piece.start)..merged.end.max(piece.end);
        }
        if at < new.end {
            self.bytes[at..new.end].copy_from_slice(&bytes[at - new.start..]);
        }
        self.pieces.splice(touched, [merged]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 16_384;

    #[test]
    fn the_first_copy_of_a_byte_wins() {
        let mut flow = Reassembly::default();
        flow.insert(0, b"abc", false, LIMIT).unwrap();
        flow.insert(6, b"ghi", false, LIMIT).unwrap();
        assert_eq!(flow.contiguous(), b"abc");
        flow.insert(1, b"XXdefXXXjk", false, LIMIT).unwrap();
        assert_eq!(flow.contiguous(), b"abcdefghijk");
        assert_eq!(flow.pieces.len(), 1);
    }

    #[test]
    fn bytes_beyond_the_limit_and_their_fin_are_left_out() {
        let mut flow = Reassembly::default();
        flow.insert(0, &[7; 20], true, 16).unwrap();
        assert_eq!(flow.contiguous(), [7; 16]);
        assert!(!flow.fin_reached());
        flow.insert(30, b"x", true, 16).unwrap();
        assert_eq!((flow.contiguous().len(), flow.memory()), (16, 16));
    }

    #[test]
    fn too_many_pieces_are_refused_and_what_is_there_stays() {
        let mut flow = Reassembly::default();
        for i in 0..MAX_PIECES {
            flow.insert(2 * i, b"x", false, LIMIT).unwrap();
        }
        assert_eq!(flow.insert(2 * MAX_PIECES, b"x", false, LIMIT), Err(TooManyPieces));
        for i in 0..MAX_PIECES {
            flow.insert(2 * i + 1, b"y", false, LIMIT).unwrap();
        }
        assert_eq!(flow.contiguous(), b"xy".repeat(MAX_PIECES));
    }

    #[test]
    fn a_lone_fin_is_remembered_until_the_gap_closes() {
        let mut flow = Reassembly::default();
        flow.insert(0, b"a", false, LIMIT).unwrap();
        flow.insert(3, b"", true, LIMIT).unwrap();
        assert!(!flow.fin_reached());
        flow.insert(1, b"bc", false, LIMIT).unwrap();
        assert!(flow.fin_reached());
    }

    proptest! {
        #[test]
        fn any_order_with_overlaps_gives_the_bytes(
            text in proptest::collection::vec(any::<u8>(), 1..3000),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1_usize..200), 0..60),
            seed: u64,
        ) {
            let mut segments: Vec<(usize, usize)> = cuts
                .iter()
                .map(|(at, length)| { let at = at.index(text.len()); (at, (at + length).min(text.len())) })
                .collect();
            segments.extend((0..text.len()).step_by(100).map(|at| (at, (at + 100).min(text.len()))));
            let mut random = seed | 1;
            segments.sort_by_cached_key(|_| { random ^= random << 13; random ^= random >> 7; random ^= random << 17; random });
            let mut flow = Reassembly::default();
            for (start, end) in segments {
                flow.insert(start, &text[start..end], false, LIMIT).unwrap();
                prop_assert!(text.starts_with(flow.contiguous()));
                prop_assert!(flow.pieces.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert!(flow.memory() <= text.len().next_multiple_of(GROWTH_BYTES));
            }
            prop_assert_eq!(flow.contiguous(), &text[..]);
        }
    }
}

//! Numbers of the requests that are under way at a server on a connection that is followed: which have arrived with a ticket,
//! which responses have begun, which of them are to `HEAD`. One word of the flow's entry, so that the programs of both
//! directions can change it at once.

use core::mem::offset_of;

use crate::server::{CLASSES_REMEMBERED, ServerFlow, framing};

/// Most requests under way on one connection that are counted.
pub const MAX_UNDER_WAY: u8 = 64;

/// Bits for `HEAD`, one for each request under way; with more of them nothing is followed.
const BITS: u8 = 32;

const FRAMING_SHIFT: u32 = 32;
const ARRIVED_SHIFT: u32 = 40;
const ANSWERED_SHIFT: u32 = 48;

/// Offset of the word in a flow's entry.
pub const OFFSET: usize = offset_of!(ServerFlow, heads);

const _: () = assert!(OFFSET.is_multiple_of(8) && offset_of!(ServerFlow, framing) == OFFSET + 4);
const _: () = assert!(offset_of!(ServerFlow, arrived) == OFFSET + 5);
const _: () = assert!(offset_of!(ServerFlow, answered) == OFFSET + 6);

/// The fields `heads`, `framing`, `arrived` and `answered` of a [`ServerFlow`], as they lie in its entry on a little-endian machine.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay(pub u64);

impl UnderWay {
    /// One of [`framing`].
    #[inline(always)]
    #[must_use]
    pub const fn framing(self) -> u8 {
        (self.0 >> FRAMING_SHIFT) as u8
    }

    /// Number after the latest request that arrived.
    #[inline(always)]
    #[must_use]
    pub const fn arrived(self) -> u8 {
        (self.0 >> ARRIVED_SHIFT) as u8
    }

    /// Number of the request whose response comes next.
    #[inline(always)]
    #[must_use]
    pub const fn answered(self) -> u8 {
        (self.0 >> ANSWERED_SHIFT) as u8
    }

    /// How many requests are under way.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u8 {
        self.arrived().wrapping_sub(self.answered())
    }

    /// Whether the response that comes next is to a `HEAD`.
    #[inline(always)]
    #[must_use]
    pub const fn is_head(self) -> bool {
        self.0 & head_bit(self.answered()) != 0
    }

    /// A request arrived with its number in a ticket. Others before it, in the same segment as one that had a ticket, or lost,
    /// have arrived with it. With too many of them nothing is followed any more.
    #[inline(always)]
    #[must_use]
    pub const fn arrive(self, number: u8, is_head: bool) -> Self {
        let ahead = number.wrapping_add(1).wrapping_sub(self.arrived());
        let room = MAX_UNDER_WAY.saturating_sub(self.count());
        // Known already, without its ticket, or here again.
        let newcomers = if ahead > i8::MAX as u8 { 0 } else { ahead };
        let counted = if newcomers > room { room } else { newcomers };
        let is_under_way = number.wrapping_sub(self.answered()) < self.count().wrapping_add(newcomers);
        let heads = if is_head && is_under_way { self.0 | head_bit(number) } else { self.0 };
        let arrived = self.arrived().wrapping_add(newcomers);
        let answered = self.answered().wrapping_add(newcomers - counted);
        let moved = Self(heads).with(ARRIVED_SHIFT, arrived).with(ANSWERED_SHIFT, answered);
        if moved.count() > BITS { moved.lose() } else { moved }
    }

    /// A request arrived of which only that is known.
    #[inline(always)]
    #[must_use]
    pub const fn arrive_unnumbered(self) -> Self {
        self.with(ARRIVED_SHIFT, self.arrived().wrapping_add(1))
    }

    /// A response has begun. If no request is under way, one came unseen.
    #[inline(always)]
    #[must_use]
    pub const fn answer(self) -> Self {
        let seen = if self.count() == 0 { self.arrive_unnumbered() } else { self };
        let number = seen.answered();
        Self(seen.0 & !head_bit(number)).with(ANSWERED_SHIFT, number.wrapping_add(1))
    }

    /// Nothing is under way any more.
    #[inline(always)]
    #[must_use]
    pub const fn settle(self) -> Self {
        self.with(ANSWERED_SHIFT, self.arrived())
    }

    /// Responses cannot be followed any more.
    #[inline(always)]
    #[must_use]
    pub const fn lose(self) -> Self {
        self.with(FRAMING_SHIFT, framing::LOST)
    }

    /// Responses go on like this, unless they were lost meanwhile.
    #[inline(always)]
    #[must_use]
    pub const fn frame(self, framing: u8) -> Self {
        if self.framing() == framing::LOST { self } else { self.with(FRAMING_SHIFT, framing) }
    }

    #[inline(always)]
    const fn with(self, shift: u32, byte: u8) -> Self {
        Self(self.0 & !(0xff << shift) | (byte as u64) << shift)
    }
}

/// The request's place in [`ServerFlow::classes`].
#[inline(always)]
#[must_use]
pub const fn class_place(number: u8) -> usize {
    number as usize % CLASSES_REMEMBERED
}

#[inline(always)]
const fn head_bit(number: u8) -> u64 {
    1 << (number % BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new(number: u8) -> UnderWay {
        UnderWay(0)
            .with(FRAMING_SHIFT, framing::HEAD)
            .with(ARRIVED_SHIFT, number)
            .with(ANSWERED_SHIFT, number)
    }

    fn numbers(word: UnderWay) -> (u8, u8) {
        (word.arrived(), word.answered())
    }

    #[test]
    fn a_word_is_the_fields_of_an_entry() {
        let flow = ServerFlow { heads: 5, framing: 2, arrived: 7, answered: 6, ..ServerFlow::default() };
        // SAFETY: an aligned word of the structure, all of it initialised.
        let word = unsafe { (&raw const flow).byte_add(OFFSET).cast::<u64>().read() };
        let word = UnderWay(word);
        assert_eq!((word.0 as u32, word.framing(), word.arrived(), word.answered()), (5, 2, 7, 6));
    }

    #[test]
    fn requests_arrive_and_are_answered_one_by_one() {
        for first in [0, 100, 255] {
            let here = new(first).arrive(first, true);
            assert_eq!((here.count(), here.is_head()), (1, true));
            let done = here.answer();
            assert_eq!((done.count(), done.is_head(), done), (0, false, new(first.wrapping_add(1))));
        }
    }

    #[test]
    fn a_request_again_counts_no_more() {
        let here = new(3).arrive(3, false);
        assert_eq!(here.arrive(3, false), here);
        assert_eq!(here.answer().arrive(3, true), here.answer());
    }

    #[test]
    fn requests_without_a_ticket_of_their_own_arrive_with_the_next() {
        let here = new(254).arrive(254, false).arrive(2, true);
        assert_eq!((numbers(here), here.count()), ((3, 254), 5));
        let last = (0..4).fold(here, |word, _| {
            assert!(!word.is_head());
            word.answer()
        });
        assert!(last.is_head());
    }

    #[test]
    fn a_response_without_a_request_counts_both() {
        assert_eq!(numbers(new(9).answer()), (10, 10));
        assert_eq!(numbers(new(9).answer().arrive(9, false)), (10, 10));
    }

    #[test]
    fn a_request_that_was_known_before_its_ticket_takes_its_method_from_it() {
        let here = new(9).arrive_unnumbered();
        assert_eq!((here.count(), here.is_head()), (1, false));
        let ticketed = here.arrive(9, true);
        assert_eq!((ticketed.count(), ticketed.is_head()), (1, true));
    }

    #[test]
    fn with_more_requests_than_bits_nothing_is_followed() {
        assert_eq!(new(0).arrive(31, false).framing(), framing::HEAD);
        assert_eq!(new(0).arrive(32, false).framing(), framing::LOST);
        assert_eq!(new(0).arrive(32, false).frame(framing::CHUNK).framing(), framing::LOST);
    }

    proptest! {
        #[test]
        fn never_more_are_under_way_than_are_counted(steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..200)) {
            let mut word = new(0);
            for (number, arrives) in steps {
                word = if arrives { word.arrive(number, false) } else { word.answer() };
                prop_assert!(word.count() <= MAX_UNDER_WAY);
            }
        }
    }
}

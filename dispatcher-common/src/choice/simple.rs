//! Policies that look at one thing only: `hash`, `round-robin`, `random`, `two-choices`.

use super::NO_SERVER;

const NOBODY: u64 = NO_SERVER as u64;

/// The server with the largest hash so far; the last one offered where two are equal.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Highest {
    hash: u64,
    server: u64,
}

impl Default for Highest {
    fn default() -> Self {
        Self { hash: 0, server: NOBODY }
    }
}

impl Highest {
    #[inline(always)]
    pub const fn offer(&mut self, server: u16, hash: u64) {
        if hash >= self.hash {
            *self = Self { hash, server: server as u64 };
        }
    }

    /// The server, if one was offered.
    #[inline(always)]
    #[must_use]
    pub const fn server(&self) -> Option<u16> {
        if self.server == NOBODY { None } else { Some(self.server as u16) }
    }
}

/// The server after the last one: the next larger id, or the first again. In words, as the verifier wants the program's stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTurn {
    last: u64,
    first: u64,
    next: u64,
}

impl NextTurn {
    /// After `last`, which is [`NO_SERVER`] when there was none.
    #[inline(always)]
    #[must_use]
    pub const fn after(last: u16) -> Self {
        Self { last: last as u64, first: NOBODY, next: NOBODY }
    }

    /// Takes the next eligible server, in order of ids.
    #[inline(always)]
    pub const fn offer(&mut self, server: u16) {
        let server = server as u64;
        if self.first == NOBODY {
            self.first = server;
        }
        if self.next == NOBODY && (self.last == NOBODY || server > self.last) {
            self.next = server;
        }
    }

    /// The server, if one was offered.
    #[inline(always)]
    #[must_use]
    pub const fn server(&self) -> Option<u16> {
        match (self.next, self.first) {
            (NOBODY, NOBODY) => None,
            (NOBODY, first) => Some(first as u16),
            (next, _) => Some(next as u16),
        }
    }
}

/// The last server of a service with `round-robin`; on a cache line of its own, since program and control plane write it. Two
/// that choose at once may give the same turn twice.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// [`NO_SERVER`] when there was none.
    pub last: u64,
    pub reserved: [u64; 7],
}

const _: () = assert!(size_of::<Turn>() == 64);

/// A number below `count`, which is at most 2^16, from 16 random bits: exactly even for powers of two, else within one in 2^16.
#[inline(always)]
#[must_use]
pub const fn part(random: u16, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 16) as u32
}

/// Of two different places the second: `other` is a number below the count less one.
#[inline(always)]
#[must_use]
pub const fn other_than(first: u32, other: u32) -> u32 {
    other + (other >= first) as u32
}

/// Whether the second of two servers holds fewer requests.
#[inline(always)]
#[must_use]
pub const fn better(first_queue: u32, second_queue: u32) -> bool {
    second_queue < first_queue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even() {
        for count in 1..=256_u32 {
            let mut counts = vec![0_u32; count as usize];
            (0..=u16::MAX).for_each(|random| counts[part(random, count) as usize] += 1);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{count}: {least} to {most}");
        }
    }

    #[test]
    fn every_pair_of_places_is_different() {
        let pairs: std::collections::HashSet<_> =
            (0..5).flat_map(|first| (0..4).map(move |other| (first, other_than(first, other)))).collect();
        assert_eq!(pairs.len(), 20);
        assert!(pairs.iter().all(|(first, second)| first != second && *second < 5));
    }
}

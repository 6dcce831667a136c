//! What the servers hold, as program and control plane reckon it together. The control plane publishes what it knows; the program
//! adds what it dispatched since to accounts that it alone subtracts nothing from. Each published number says how much of the
//! account it includes, in the same word, so that nothing counts twice or not at all, whoever reads when.

use crate::limits::MAX_SERVERS;

/// Longest load that is told apart, in µs: above 17 minutes. The numbers are of 32 bits and wrap.
const MAX_LOAD_US: u64 = 1 << 30;

/// What was added to an account: requests in the lower 32 bits, their work in µs in the upper, both modulo 2^32. A carry
/// from one to the other is a µs in 4 billion requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added(pub u64);

impl Added {
    /// One request.
    #[inline(always)]
    #[must_use]
    pub const fn request(work_us: u32) -> Self {
        Self((work_us as u64) << 32 | 1)
    }

    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Whether less was added than is said to be seen; both are of the same account and near each other.
    #[must_use]
    pub const fn is_behind(self, seen: Self) -> bool {
        (self.work_us().wrapping_sub(seen.work_us()) as i32) < 0
            || (self.requests().wrapping_sub(seen.requests()) as i32) < 0
    }

    #[inline(always)]
    const fn requests(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn work_us(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The account of a server, on a cache line of its own: every CPU that dispatches writes it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// An [`Added`].
    pub added: u64,
    pub reserved: [u64; 7],
}

const _: () = assert!(size_of::<Account>() == 64);

/// What the control plane knows of a server. Two words that change one by one, each true by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// When the server will be idle (upper half, µs), and the work of its account that this includes (lower half, µs).
    work: u64,
    /// Requests held (upper half), and the requests of its account that this includes (lower half).
    queue: u64,
}

const _: () = assert!(size_of::<ServerLoad>() == 16);

impl ServerLoad {
    /// What a server holds at a moment on the program's clock, with so much of its account included.
    #[must_use]
    pub fn new(load_us: u64, queue: u32, now_us: u64, seen: Added) -> Self {
        let idle_at_us = now_us.wrapping_add(load_us.min(MAX_LOAD_US));
        Self {
            work: idle_at_us << 32 | u64::from(seen.work_us()),
            queue: u64::from(queue) << 32 | u64::from(seen.requests()),
        }
    }

    /// From the words of the map.
    #[must_use]
    pub const fn from_words([work, queue]: [u64; 2]) -> Self {
        Self { work, queue }
    }

    /// As it lies in the map.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        [self.work, self.queue]
    }

    /// T at a moment on the program's clock: what was published less the time since, and all that was added since.
    #[inline(always)]
    #[must_use]
    pub const fn load_us(&self, added: Added, now_us: u64) -> u64 {
        let rest = ((self.work >> 32) as u32).wrapping_sub(now_us as u32) as i32;
        let fresh = added.work_us().wrapping_sub(self.work as u32) as i32;
        not_negative(rest) + not_negative(fresh)
    }

    /// q: requests that were published, and all that were added since.
    #[inline(always)]
    #[must_use]
    pub const fn queue(&self, added: Added) -> u32 {
        let fresh = added.requests().wrapping_sub(self.queue as u32) as i32;
        ((self.queue >> 32) as u32).saturating_add(not_negative(fresh) as u32)
    }
}

#[inline(always)]
const fn not_negative(number: i32) -> u64 {
    if number > 0 { number as u64 } else { 0 }
}

/// By server, in one value, so that one look-up leads to all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServerLoads(pub [ServerLoad; MAX_SERVERS]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_added_since_counts_once(
            load_us in 0_u64..MAX_LOAD_US,
            queue in 0_u32..1 << 20,
            now_us in any::<u64>(),
            before in any::<u64>(),
            elapsed_us in 0_u64..MAX_LOAD_US,
            works in prop::collection::vec(0_u32..1 << 20, 0..100),
        ) {
            let seen = Added(before);
            let load = ServerLoad::new(load_us, queue, now_us, seen);
            let added = works.iter().fold(seen, |sum, work| sum.plus(Added::request(*work)));
            let fresh_us: u64 = works.iter().map(|work| u64::from(*work)).sum();
            // The carry of the requests.
            let carry = u64::from(seen.requests().checked_add(works.len() as u32).is_none());
            let now_us = now_us.wrapping_add(elapsed_us);
            prop_assert_eq!(load.load_us(added, now_us), load_us.saturating_sub(elapsed_us) + fresh_us + carry);
            prop_assert_eq!(load.queue(added), queue + works.len() as u32);
        }
    }

    #[test]
    fn a_load_beyond_all_reason_is_a_long_one() {
        let load = ServerLoad::new(u64::MAX, u32::MAX, 5, Added(0));
        assert_eq!(load.load_us(Added(0), 5), MAX_LOAD_US);
        assert_eq!(load.queue(Added::request(7)), u32::MAX);
    }
}

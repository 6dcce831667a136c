//! What the control plane publishes of services, classes and targets. Every word is true by itself; those that must change together
//! share one.

use crate::limits::{MAX_CLASSES, MAX_SERVERS};

/// Of a configured service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceChoice {
    /// Until when this holds, on the program's clock: the control plane may be gone.
    pub valid_until_us: u64,
    /// T_load, above zero.
    pub t_load_us: u64,
    /// The program does not choose while the least loaded server holds more than this; `u64::MAX` without a limit.
    pub load_limit_us: u64,
    /// Expected service time of a request where nothing else is known.
    pub mean_us: u64,
    pub reserved: [u64; 3],
    /// A [`State`].
    pub state: u64,
}

const _: () = assert!(size_of::<ServiceChoice>() == 64);

impl ServiceChoice {
    /// As it lies in the map. The state comes last: whoever publishes it has published all it refers to.
    #[must_use]
    pub const fn words(&self) -> [u64; 8] {
        let Self { state, valid_until_us, t_load_us, load_limit_us, mean_us, .. } = *self;
        [valid_until_us, t_load_us, load_limit_us, mean_us, 0, 0, 0, state]
    }
}

/// What of a service changes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// One of [`super::kind`].
    pub kind: u8,
    /// The half of its candidates that is in force, 0 or 1.
    pub half: u8,
    /// How many there are, at most [`MAX_SERVERS`].
    pub count: u16,
}

impl State {
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { kind: word as u8, half: (word >> 8) as u8 & 1, count: (word >> 16) as u16 }
    }

    #[must_use]
    pub const fn word(self) -> u64 {
        self.kind as u64 | (self.half as u64) << 8 | (self.count as u64) << 16
    }

    /// Index of a half in the map.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, owner: u8) -> u32 {
        owner as u32 * 2 + self.half as u32
    }
}

/// A server that may be chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub server: u16,
    pub reserved: u16,
    /// Its weight, or how many classes are bound to it.
    pub number: u32,
}

const _: () = assert!(size_of::<Candidate>() == 8);

impl Candidate {
    /// From the word of the map.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, _, _, e, f, g, h] = word.to_ne_bytes();
        Self { server: u16::from_ne_bytes([a, b]), reserved: 0, number: u32::from_ne_bytes([e, f, g, h]) }
    }

    /// As it lies in the map.
    #[must_use]
    pub const fn word(self) -> u64 {
        let [a, b] = self.server.to_ne_bytes();
        let [e, f, g, h] = self.number.to_ne_bytes();
        u64::from_ne_bytes([a, b, 0, 0, e, f, g, h])
    }
}

/// One half of a service's candidates, in order of ids.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Candidates(pub [Candidate; MAX_SERVERS]);

/// The servers of a class, one bit each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassServers(pub [u64; MAX_SERVERS / 64]);

impl ClassServers {
    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, server: u16) -> bool {
        self.0[server as usize / 64 % (MAX_SERVERS / 64)] >> (server % 64) & 1 != 0
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }
}

/// Expected service times of one server by class, in µs; 0 where it has measured none. The entry after the last server's has the
/// means over all servers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServiceTimes(pub [u32; MAX_CLASSES]);

/// A target that is asked for much.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotHome {
    pub target: u64,
    /// The home it was given, or [`super::NO_SERVER`].
    pub server: u16,
    /// One of [`super::level`].
    pub level: u8,
    /// 1 in an entry that is used.
    pub is_used: u8,
    pub reserved: u32,
}

const _: () = assert!(size_of::<HotHome>() == 16);

/// Buckets of a service's hot targets, and entries of each, which is a cache line.
pub const HOT_BUCKETS: usize = 128;
pub const HOT_WAYS: usize = 4;

/// The hot targets of a service. One that finds no room in its bucket is not here, and so is nothing special to the program.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct HotHomes(pub [[HotHome; HOT_WAYS]; HOT_BUCKETS]);

impl HotHomes {
    /// The bucket of a target.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(target: u64) -> usize {
        (target >> 57) as usize % HOT_BUCKETS
    }

    /// What is known of a target.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, target: u64) -> Option<HotHome> {
        let [a, b, c, d] = &self.0[Self::bucket(target)];
        let is_it = |home: &HotHome| home.target == target && home.is_used != 0;
        [a, b, c, d].into_iter().find(|home| is_it(home)).copied()
    }
}

impl HotHome {
    /// As it lies in the map: the target, and the rest.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        let [a, b] = self.server.to_ne_bytes();
        [self.target, u64::from_ne_bytes([a, b, self.level, self.is_used, 0, 0, 0, 0])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_word() {
        let state = State { kind: 6, half: 1, count: 256 };
        assert_eq!(State::from_word(state.word()), state);
        assert_eq!(State::from_word(0), State::default());
        assert_eq!(state.index(63), 127);
    }

    #[test]
    fn words_are_the_entries() {
        let candidate = Candidate { server: 0x0102, reserved: 0, number: 0x0304_0506 };
        let home = HotHome { target: 7, server: 0x1112, level: 2, is_used: 1, reserved: 0 };
        // SAFETY: of the same size, without padding.
        let (word, words) = unsafe {
            (std::mem::transmute::<Candidate, u64>(candidate), std::mem::transmute::<HotHome, [u64; 2]>(home))
        };
        assert_eq!((candidate.word(), home.words()), (word, words));
        assert_eq!(Candidate::from_word(word), candidate);
    }

    #[test]
    fn a_set_of_servers_has_a_bit_for_each() {
        let set = ClassServers([1, 0, 0, 1 << 63]);
        assert!(set.contains(0) && set.contains(255) && !set.contains(1) && !set.contains(64));
    }
}

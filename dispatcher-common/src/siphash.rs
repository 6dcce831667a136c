//! SipHash over whole 64-bit words, of a constant number of words or word by word. The published crates hash byte slices through a
//! buffer, which the verifier and the eBPF stack cannot afford; these are the same functions.

/// A 128-bit key.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SipKey {
    pub k0: u64,
    pub k1: u64,
}

impl core::fmt::Debug for SipKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SipKey(..)")
    }
}

impl SipKey {
    /// A key from 16 bytes, as SipHash defines it (little endian).
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(bytes);
        Self { k0: key as u64, k1: (key >> 64) as u64 }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    const fn new(key: &SipKey) -> Self {
        Self {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    fn absorb<const ROUNDS: usize>(&mut self, word: u64) {
        self.v3 ^= word;
        for _ in 0..ROUNDS {
            self.round();
        }
        self.v0 ^= word;
    }
}

/// SipHash-2-4 of the words' little-endian bytes.
#[inline(always)]
pub fn hash<const N: usize>(key: &SipKey, words: [u64; N]) -> u64 {
    sip::<2, 4, N>(key, words)
}

/// SipHash-1-3 of the words' little-endian bytes: half the rounds, for what is truncated and lives for a short time.
#[inline(always)]
pub fn hash_1_3<const N: usize>(key: &SipKey, words: [u64; N]) -> u64 {
    sip::<1, 3, N>(key, words)
}

/// SipHash with so many rounds for each word and at the end.
#[inline(always)]
fn sip<const EACH: usize, const LAST: usize, const N: usize>(key: &SipKey, words: [u64; N]) -> u64 {
    let mut state = State::new(key);
    for word in words {
        state.absorb::<EACH>(word);
    }
    state.absorb::<EACH>((N as u64 * 8) << 56);
    state.v2 ^= 0xff;
    for _ in 0..LAST {
        state.round();
    }
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

/// SipHash-1-3 of a message that comes word by word, for hash tables: its values are not shown to anybody.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SipStream(State);

impl core::fmt::Debug for SipStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SipStream(..)")
    }
}

impl SipStream {
    /// The hash of nothing yet.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &SipKey) -> Self {
        Self(State::new(key))
    }

    /// Adds eight bytes, as a little-endian word.
    #[inline(always)]
    pub fn absorb(&mut self, word: u64) {
        self.0.absorb::<1>(word);
    }

    /// The hash, after the last bytes (seven at most) and the message's length in bytes.
    #[inline(always)]
    #[must_use]
    pub fn finish(mut self, rest: u64, len_bytes: u64) -> u64 {
        self.absorb(len_bytes << 56 | rest);
        let mut state = self.0;
        state.v2 ^= 0xff;
        for _ in 0..3 {
            state.round();
        }
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::{SipHasher13, SipHasher24};

    use super::*;

    proptest! {
        #[test]
        fn both_equal_the_reference_crate(key: [u8; 16], words: [u64; 7]) {
            let mut longer = SipHasher24::new_with_key(&key);
            let mut shorter = SipHasher13::new_with_key(&key);
            for word in words {
                longer.write(&word.to_le_bytes());
                shorter.write(&word.to_le_bytes());
            }
            let key = SipKey::from_bytes(key);
            prop_assert_eq!(hash(&key, words), longer.finish());
            prop_assert_eq!(hash_1_3(&key, words), shorter.finish());
        }

        #[test]
        fn a_stream_equals_the_reference_crate(key: [u8; 16], bytes: Vec<u8>) {
            let mut reference = SipHasher13::new_with_key(&key);
            reference.write(&bytes);
            let mut stream = SipStream::new(&SipKey::from_bytes(key));
            let (words, rest) = bytes.as_chunks::<8>();
            words.iter().for_each(|word| stream.absorb(u64::from_le_bytes(*word)));
            let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            prop_assert_eq!(stream.finish(rest, bytes.len() as u64), reference.finish());
        }
    }
}

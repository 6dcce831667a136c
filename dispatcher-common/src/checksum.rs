//! Internet checksum arithmetic (RFC 1071, incremental update RFC 1624), on words as they lie in a packet: one's complement
//! sums are the same in either byte order.

/// A one's complement sum in progress; room for 2^32 additions of 32-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u64);

impl Sum {
    /// Starts from a finished checksum, to update it.
    #[inline(always)]
    pub const fn resume(checksum: u16) -> Self {
        Self(!checksum as u64)
    }

    #[inline(always)]
    pub const fn add(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Replaces a word that was part of the sum by another.
    #[inline(always)]
    pub const fn replace(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Replaces a 16-bit word.
    #[inline(always)]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// The checksum to put into the packet.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

/// Sum of a byte string, padded with a zero byte if odd; for user space and tests, eBPF uses `bpf_csum_diff`.
#[must_use]
pub fn sum_bytes(bytes: &[u8]) -> Sum {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u16::from_ne_bytes([*byte, 0]) as u64);
    Sum(pairs.iter().map(|pair| u16::from_ne_bytes(*pair) as u64).sum::<u64>() + last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agrees_with_the_example_of_rfc_1071() {
        let sum = sum_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(u16::from_be(sum.finish()), !0xddf2);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_recomputation(mut words in proptest::collection::vec(1_u32.., 2..20), at: prop::sample::Index, new in 1_u32..) {
            let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
            let before = sum_bytes(&bytes(&words)).finish();
            let at = at.index(words.len());
            let old = words[at];
            words[at] = new;
            let updated = Sum::resume(before).replace(old, new).finish();
            prop_assert_eq!(updated, sum_bytes(&bytes(&words)).finish());
        }
    }
}

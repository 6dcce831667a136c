//! Hashes that spread targets over servers. Owns the function and that it never changes: all front-ends of a cluster must
//! send a target to the same server. It is no protection against chosen targets; those were hashed before they came here.

/// The output number `index` of SplitMix64 with the seed `key` (Steele, Lea, Flood, *Fast Splittable Pseudorandom
/// Number Generators*, OOPSLA 2014): every bit of both moves half of the result's.
#[inline(always)]
#[must_use]
pub const fn spread(key: u64, index: u64) -> u64 {
    let gamma = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = key.wrapping_add(gamma);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_outputs_for_seed_0_come_out() {
        let outputs = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([0, 1, 2].map(|index| spread(0, index)), outputs);
    }
}

//! Weighted rendezvous hashing: every target has a distance from every server, and is at home where distance by weight is least.
//! Then each server is home to the part of all targets that is its part of the weights, and when a weight changes only targets
//! from or to its server move. Owns the distance; weights are `super::weighted`'s.
//!
//! Source: D. Thaler, C. Ravishankar, *Using Name-Based Mappings to Increase Hit Rates*, 1998, with the weights of C. Schindelhauer,
//! G. Schomaker, *Weighted Distributed Hash Tables*, SPAA 2005, by logarithms. Those are whole numbers here, so that every
//! machine chooses alike.

use super::spread;

/// Fractional bits of a distance.
const FRACTION: u32 = 24;

/// Logarithms are kept for so many parts of an octave; between them the line is within 3 in a million.
const PARTS: usize = 256;

/// log2(1 + part/256).
static LOGARITHMS: [u32; PARTS + 1] = logarithms();

/// A distance of exponential distribution, up to 64 with 24 fractional bits: −log2 of a hash that is taken as a fraction.
#[inline(always)]
#[must_use]
pub fn distance(target: u64, server: u16) -> u64 {
    // Of two zeros one is lost, which is as rare as it is harmless.
    minus_log2(spread(target, server as u64) | 1)
}

#[inline(always)]
fn minus_log2(fraction: u64) -> u64 {
    let octave = match fraction >> 56 {
        0 => fraction.leading_zeros(),
        first => LEADING_ZEROS[first as usize % PARTS] as u32,
    };
    let mantissa = fraction << octave;
    let part = (mantissa >> 55) as usize % PARTS;
    let rest = mantissa >> (55 - FRACTION) & ((1 << FRACTION) - 1);
    let (low, high) = (LOGARITHMS[part] as u64, LOGARITHMS[part + 1] as u64);
    let logarithm = low + (((high - low) * rest) >> FRACTION);
    ((octave as u64 + 1) << FRACTION) - logarithm
}

/// Of a byte. eBPF has no instruction for them, and one load is less than the thirty steps without.
static LEADING_ZEROS: [u8; PARTS] = leading_zeros();

const fn leading_zeros() -> [u8; PARTS] {
    let mut table = [8; PARTS];
    let mut byte = 1;
    while byte < PARTS {
        table[byte] = (byte as u8).leading_zeros() as u8;
        byte += 1;
    }
    table
}

/// Bit by bit: a number is squared, and whenever that passes 2 the next bit of its logarithm is 1.
const fn logarithms() -> [u32; PARTS + 1] {
    let mut table = [1 << FRACTION; PARTS + 1];
    let mut part = 0;
    while part < PARTS {
        // With 62 fractional bits.
        let mut number = (1_u128 << 62) + ((part as u128) << 54);
        let mut logarithm = 0;
        let mut bit = 0;
        while bit < FRACTION {
            number = (number * number) >> 62;
            let passes = (number >> 63) as u32;
            number >>= passes;
            logarithm = logarithm << 1 | passes;
            bit += 1;
        }
        table[part] = logarithm;
        part += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right() {
        let one = f64::from(1 << FRACTION);
        for i in 0..10_000 {
            let fraction = spread(7, i) >> (i % 60) | 1;
            let expected = 64.0 - (fraction as f64).log2();
            let error = minus_log2(fraction) as f64 / one - expected;
            assert!(error.abs() < 4e-6, "{fraction:#x}: off by {error}");
        }
        assert_eq!(minus_log2(1 << 63), 1 << FRACTION);
        assert_eq!((minus_log2(1), minus_log2(u64::MAX)), (64 << FRACTION, 1));
    }

    #[test]
    fn a_weight_of_three_is_home_to_three_in_four() {
        let home = |target| distance(target, 0) > distance(target, 1) / 3;
        let share = (0..40_000).filter(|&target| home(target)).count();
        assert!((29_600..30_400).contains(&share), "{share}");
    }
}

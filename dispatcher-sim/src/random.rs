//! Random numbers that are the same on any machine: PCG streams of one seed, integers where possible, and logarithms
//! of the `libm` crate, because those of platforms differ in the last bit.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// What a stream is for. Streams of one seed are independent, so a policy's draws never change what clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// When clients ask.
    Arrivals,
    /// What they ask for.
    Contexts,
    /// The policy.
    Policy,
}

/// The stream of a seed.
#[must_use]
pub fn stream(seed: u64, stream: Stream) -> Pcg64 {
    Pcg64::seed_from_u64(seed.wrapping_mul(3).wrapping_add(stream as u64))
}

/// Evenly from `0..bound`, by multiplication.
pub fn below(rng: &mut Pcg64, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// True in `percent` of 100 cases.
pub fn chance(rng: &mut Pcg64, percent: u32) -> bool {
    percent > 0 && below(rng, 100) < u64::from(percent)
}

/// Exponentially distributed time in µs, with a mean in µs.
pub fn exponential_us(rng: &mut Pcg64, mean_us: f64) -> u64 {
    // 53 bits, never zero: the logarithm is finite.
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    (-libm::log(uniform) * mean_us) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_never_change() {
        let mut rng = stream(1, Stream::Arrivals);
        let times: Vec<u64> = (0..100_000).map(|_| exponential_us(&mut rng, 1000.0)).collect();
        let mean = times.iter().sum::<u64>() / 100_000;
        assert!((980..1020).contains(&mean), "{mean}");
        assert_eq!(times[..4], [852, 1485, 2192, 179]);
    }

    #[test]
    fn a_chance_of_none_or_all_is_certain() {
        let mut rng = stream(1, Stream::Arrivals);
        assert!((0..1000).all(|_| !chance(&mut rng, 0) && chance(&mut rng, 100)));
    }
}

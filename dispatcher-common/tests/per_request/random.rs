//! The model's only source of chance: SplitMix64 from a seed, so that a run can be had again.

use dispatcher_common::choice::spread;

/// A stream of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.drawn += 1;
        spread(self.seed, self.drawn)
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Whether something of this many in a thousand happens.
    pub(crate) fn hits(&mut self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }
}

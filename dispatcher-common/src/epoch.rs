//! Key epochs: coarse wall-clock time that cookies and tickets are bound to, so that old ones expire without any daemon
//! rotating keys.

/// One epoch is 2^36 ns, 68.7 s.
pub const EPOCH_SHIFT: u32 = 36;

/// A number of epochs since 1970; compared modulo 2^32.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch at a wall-clock time in nanoseconds since 1970.
    #[inline(always)]
    pub const fn at(wall_clock_ns: u64) -> Self {
        Self((wall_clock_ns >> EPOCH_SHIFT) as u32)
    }

    #[inline(always)]
    pub const fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// The epoch next to `self` (one before, the same, one after) whose low four bits are `low_bits`, if there is one.
    #[inline(always)]
    pub const fn near(self, low_bits: u8) -> Option<Self> {
        match (low_bits as u32).wrapping_sub(self.0) & 0xf {
            0 => Some(self),
            1 => Some(Self(self.0.wrapping_add(1))),
            0xf => Some(self.previous()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbouring_epochs_are_near() {
        for now in [0, 1, 15, 16, 1000, u32::MAX] {
            let near = |distance: u32| {
                let other = now.wrapping_add(distance);
                Epoch(now).near((other & 0xf) as u8) == Some(Epoch(other))
            };
            assert!(near(0) && near(1) && near(u32::MAX));
            assert!(!near(2) && !near(u32::MAX - 1) && !near(8));
        }
    }

    #[test]
    fn an_epoch_lasts_over_a_minute() {
        assert_eq!(Epoch::at(0), Epoch::at(68_000_000_000));
        assert_eq!(Epoch::at(69_000_000_000), Epoch(1));
    }
}

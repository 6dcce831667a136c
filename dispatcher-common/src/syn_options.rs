//! What a client's SYN negotiates, in the eight bits that a cookie has room for. Timestamps are not among them: many clients
//! send none, and those who do show it on every segment (RFC 7323 section 3.2).

/// Segment sizes that a cookie can express, in bytes, ascending. A client's MSS is rounded down, so no segment is too large
/// for its path; one below 536 is raised to 536, the least that a Linux server's hand-off takes (and RFC 9293 3.7.1's default).
pub const MSS_TABLE: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8940];

/// MSS of a client that announces none (RFC 9293 section 3.7.1).
pub const DEFAULT_MSS: u16 = 536;

/// Value of the window-scale field for "not offered"; RFC 7323 section 2.3 allows 0 to 14.
const NO_WINDOW_SCALE: u8 = 15;

/// MSS index (3 bits), window scale or none (4 bits), SACK permitted (1 bit).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynOptions(pub u8);

impl SynOptions {
    /// Encodes what a SYN offers; a window scale above 14 counts as 14, as RFC 7323 section 2.3 demands.
    #[inline(always)]
    pub fn new(mss: u16, window_scale: Option<u8>, sack: bool) -> Self {
        let scale = match window_scale {
            Some(scale) if scale > 14 => 14,
            Some(scale) => scale,
            None => NO_WINDOW_SCALE,
        };
        Self(Self::mss_index(mss) << 5 | scale << 1 | sack as u8)
    }

    // A chain of compares instead of a search: the verifier has to see that the index is below eight.
    #[inline(always)]
    fn mss_index(mss: u16) -> u8 {
        let mut index = 0;
        for (candidate, least) in MSS_TABLE.iter().enumerate() {
            if mss >= *least {
                index = candidate as u8;
            }
        }
        index
    }

    /// The client's MSS, rounded down to the table.
    #[inline(always)]
    pub fn mss(self) -> u16 {
        MSS_TABLE[(self.0 >> 5) as usize & 7]
    }

    /// The client's window scale, if it offered one.
    #[inline(always)]
    pub fn window_scale(self) -> Option<u8> {
        match self.0 >> 1 & 0xf {
            NO_WINDOW_SCALE => None,
            scale => Some(scale),
        }
    }

    /// Whether the client permits selective acknowledgements.
    #[inline(always)]
    pub fn sack(self) -> bool {
        self.0 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn options_survive_a_round_trip(mss: u16, scale in proptest::option::of(0_u8..=14), sack: bool) {
            let options = SynOptions::new(mss, scale, sack);
            prop_assert!(options.mss() <= mss.max(536));
            prop_assert!(MSS_TABLE.contains(&options.mss()));
            prop_assert_eq!(options.window_scale(), scale);
            prop_assert_eq!(options.sack(), sack);
        }
    }

    #[test]
    fn a_table_value_is_kept_and_an_excessive_scale_is_lowered() {
        for mss in MSS_TABLE {
            assert_eq!(SynOptions::new(mss, None, false).mss(), mss);
        }
        assert_eq!(SynOptions::new(1459, Some(200), false).window_scale(), Some(14));
    }
}

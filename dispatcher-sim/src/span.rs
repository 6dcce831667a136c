//! Lengths of simulated time: whole microseconds inside, `15ms` or `2s` where people write them.
//! Moments are lengths since the beginning.

use std::{fmt, str::FromStr, time::Duration};

/// A length of simulated time in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn ms(count: u64) -> Self {
        Self(count * 1000)
    }

    /// So many seconds.
    #[must_use]
    pub const fn s(count: u64) -> Self {
        Self(count * 1_000_000)
    }

    /// As the decision core takes it.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(|duration| Self(duration.as_micros() as u64))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.duration()).fmt(f)
    }
}

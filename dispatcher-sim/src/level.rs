//! The paper's three levels of service, and one value for each of them.
//! What they mean for service times is the workload's, for eviction the engine's.

use std::{
    fmt,
    ops::{Index, IndexMut},
    str::FromStr,
};

use dispatcher_core::ids::Priority;
use thiserror::Error;

/// A level of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Images and text.
    Low,
    /// CGI, ASP, scripts.
    Medium,
    /// Multimedia and voice.
    High,
}

impl Level {
    /// All of them, the highest first, as the paper lists them.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// The word in tables and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// The priority by which policies and admission know it.
    #[must_use]
    pub fn priority(self) -> Priority {
        let number = match self {
            Self::High => 6,
            Self::Medium => 4,
            Self::Low => 1,
        };
        Priority::new(number).unwrap_or(Priority::HIGHEST)
    }
}

/// A value for each level, written `high,medium,low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerLevel<T> {
    /// Of the high level.
    pub high: T,
    /// Of the medium level.
    pub medium: T,
    /// Of the low level.
    pub low: T,
}

impl<T> Index<Level> for PerLevel<T> {
    type Output = T;

    fn index(&self, level: Level) -> &T {
        match level {
            Level::High => &self.high,
            Level::Medium => &self.medium,
            Level::Low => &self.low,
        }
    }
}

impl<T> IndexMut<Level> for PerLevel<T> {
    fn index_mut(&mut self, level: Level) -> &mut T {
        match level {
            Level::High => &mut self.high,
            Level::Medium => &mut self.medium,
            Level::Low => &mut self.low,
        }
    }
}

/// Not one value for each of the three levels.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} does not give the three levels; write high,medium,low")]
pub struct NotThree(String);

impl<T: FromStr> FromStr for PerLevel<T> {
    type Err = NotThree;

    fn from_str(text: &str) -> Result<Self, NotThree> {
        let mut values = text.split(',').map(|value| value.trim().parse().ok());
        match (values.next().flatten(), values.next().flatten(), values.next().flatten(), values.next()) {
            (Some(high), Some(medium), Some(low), None) => Ok(Self { high, medium, low }),
            _ => Err(NotThree(text.to_owned())),
        }
    }
}

impl<T: fmt::Display> fmt::Display for PerLevel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.high, self.medium, self.low)
    }
}

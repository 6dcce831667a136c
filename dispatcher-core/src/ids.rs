//! Small numbers that must not be taken for one another: servers, classes, configured services, priorities.
//! Owns their ranges; what they index is elsewhere.

use std::fmt;

use dispatcher_common::limits::MAX_PRIORITY;

/// A server: the position of its `[[server]]` in the front-end's configuration, 0..`MAX_SERVERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u16);

/// A context class, counted over all services, 0..`MAX_CLASSES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);

/// A configured service: the position of its `[[service]]` in the front-end's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceIndex(pub u16);

impl ServerId {
    /// The position as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl ClassId {
    /// The number as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl ServiceIndex {
    /// The position as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A priority, 0 (lowest) to 7 (highest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The highest priority.
    pub const HIGHEST: Self = Self(MAX_PRIORITY);

    /// `None` above 7.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level <= MAX_PRIORITY { Some(Self(level)) } else { None }
    }

    /// The number, 0..=7.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

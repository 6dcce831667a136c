//! Load of clients, and what became of each request: with levels of clients, or for the objects of a cached site. Requests are due at times that are drawn before the
//! first is sent, and their latency counts from then: a slow system is not asked less often, nor is its slowness forgotten.

mod client;
mod inversion;
mod kept;
mod network;
mod objects;
mod schedule;

use std::{net::Ipv4Addr, time::Duration};

pub use client::{drive, saturate};
pub use inversion::{Inversions, inversions};
pub use network::attach;
pub use objects::{Clients, Demand, Fetch, fetch, fetch_all};
pub use schedule::Load;

/// A level of clients, told apart by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Low,
    Medium,
    High,
}

impl Level {
    /// The best first.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// In tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// The dispatcher's priority.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::High => 7,
            Self::Medium => 3,
            Self::Low => 1,
        }
    }

    /// How much of the load is this level's.
    #[must_use]
    pub const fn share(self) -> f64 {
        match self {
            Self::High => 0.2,
            Self::Medium => 0.3,
            Self::Low => 0.5,
        }
    }

    /// Where its clients are, as a prefix.
    #[must_use]
    pub const fn network(self) -> &'static str {
        match self {
            Self::High => "198.19.0.0/18",
            Self::Medium => "198.19.64.0/18",
            Self::Low => "198.19.128.0/18",
        }
    }

    /// One of its clients' addresses. They are in many small networks, as clients are.
    #[must_use]
    pub const fn address(self, client: u16) -> Ipv4Addr {
        let third = match self {
            Self::High => 0,
            Self::Medium => 64,
            Self::Low => 128,
        };
        Ipv4Addr::new(198, 19, third + (client % 64) as u8, 1 + (client / 64 % 8) as u8)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Status 200, to the last byte.
    Served,
    /// Status 503.
    Refused,
    /// The connection was reset or closed instead.
    Reset,
    /// Nothing came before the client lost patience.
    TimedOut,
    /// Another status, or nothing that can be understood.
    Odd,
}

impl Outcome {
    /// In logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "200",
            Self::Refused => "503",
            Self::Reset => "reset",
            Self::TimedOut => "timeout",
            Self::Odd => "odd",
        }
    }
}

/// A request. Times are since the beginning of the load.
#[derive(Clone, Debug)]
pub struct Record {
    pub level: Level,
    /// When it should be sent.
    pub due: Duration,
    /// When its client began to: with the SYN, or with the request on a kept connection.
    pub began: Duration,
    /// When the client knew what became of it.
    pub ended: Duration,
    pub outcome: Outcome,
    /// Number of the server that answered.
    pub server: Option<u8>,
}

impl Record {
    /// From when it should have been sent.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.due)
    }

    #[must_use]
    pub fn is_served(&self) -> bool {
        self.outcome == Outcome::Served
    }
}

//! Which server gets a request: the decisions that the decision core and the front-end's program both make, and what the program
//! knows of servers, services and classes for it. Both call the same functions, so they cannot differ while they know the same.
//!
//! Owns no learning: weights, bind-tables and homes change in the decision core only. Loads are service time in µs.

mod bound;
mod distance;
mod load;
mod record;
mod simple;
mod spread;
mod table;
mod weighted;

pub use bound::Bound;
pub use distance::distance;
pub use load::{Account, Added, ServerLoad, ServerLoads};
pub use record::{DispatchRecord, RECORDS_PER_CPU, RecordHead, further};
pub use simple::{Highest, NextTurn, Turn, better, other_than, part};
pub use spread::spread;
pub use table::{
    Candidate, Candidates, ClassServers, HOT_BUCKETS, HOT_WAYS, HotHome, HotHomes, ServiceChoice,
    ServiceTimes, State,
};
pub use weighted::{Nearest, ONE, level};

/// Stands for no server.
pub const NO_SERVER: u16 = u16::MAX;

/// How the program chooses for a service.
pub mod kind {
    /// Not at all: the policy is the control plane's alone.
    pub const NONE: u8 = 0;
    /// Fig. 7 of the paper with the servers of the class.
    pub const BOUND: u8 = 1;
    /// Weighted rendezvous hashing of targets.
    pub const WEIGHTED: u8 = 2;
    /// Rendezvous hashing of targets.
    pub const HASH: u8 = 3;
    pub const ROUND_ROBIN: u8 = 4;
    pub const RANDOM: u8 = 5;
    pub const TWO_CHOICES: u8 = 6;
}

/// How a decision relates to the server that a class or target is at home at.
pub mod outcome {
    /// Its own server.
    pub const HIT: u8 = 0;
    /// Another server, because its own is too busy.
    pub const MOVED: u8 = 1;
    /// It has no server of its own, or the policy knows no such thing.
    pub const UNBOUND: u8 = 2;
}

/// A server, and why it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub server: u16,
    /// One of [`outcome`].
    pub outcome: u8,
}

/// The least loaded of the servers that were offered. They come in order of their ids, so a tie goes to the lower id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least {
    pub load_us: u64,
    /// Decides where loads are equal: the lower one wins.
    rank: u32,
    /// [`NO_SERVER`] as long as none was offered.
    pub server: u32,
}

impl Default for Least {
    fn default() -> Self {
        Self { load_us: u64::MAX, rank: u32::MAX, server: NO_SERVER as u32 }
    }
}

impl Least {
    #[inline(always)]
    pub const fn offer(&mut self, server: u16, load_us: u64, rank: u32) {
        let wins = load_us < self.load_us || load_us == self.load_us && rank < self.rank;
        if wins || self.server == NO_SERVER as u32 {
            *self = Self { load_us, rank, server: server as u32 };
        }
    }

    /// The server, if one was offered.
    #[inline(always)]
    #[must_use]
    pub const fn server(&self) -> Option<u16> {
        if self.server == NO_SERVER as u32 { None } else { Some(self.server as u16) }
    }
}

//! Policies: which eligible server gets a request. Owns the trait; each policy has a file of its own that says its rule,
//! its source, what it keeps in the front-end and when to choose it. A policy sees servers only through [`ServerView`],
//! so it cannot choose one that is down.
//!
//! The paper's policies weigh work (T of a server). Those from elsewhere count requests as their sources do: q of the
//! last report and own dispatches since.

mod bind_table;
mod bounded_hash;
mod context;
mod even_out;
mod hash;
mod hot_targets;
mod join_idle_queue;
mod lard;
mod lard_r;
mod prequal;
mod random;
mod replica_sets;
mod round_robin;
mod server_counts;
mod server_set;
mod settings;
mod target_table;
#[cfg(test)]
mod tests;
mod two_choices;
mod weighted;
mod weighted_round_robin;

use std::{fmt::Debug, time::Duration};

use dispatcher_common::choice::{Decision, outcome};
use rand::Rng;

use crate::{
    cluster::ServerView,
    ids::{ClassId, Priority, ServerId},
};

pub use bind_table::{BindTable, TableKind};
pub use bounded_hash::BoundedHash;
pub use context::{Context, LoadThreshold};
pub use hash::Hash;
pub use join_idle_queue::JoinIdleQueue;
pub use lard::{Lard, LardSettings};
pub use lard_r::LardR;
pub use prequal::{Prequal, PrequalSettings};
pub use random::Random;
pub use round_robin::RoundRobin;
pub use settings::{NAMES, PolicySettings, UnknownPolicy};
pub use two_choices::TwoChoices;
pub use weighted::Weighted;
pub use weighted_round_robin::WeightedRoundRobin;

/// What a policy may know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// Context class.
    pub class: ClassId,
    /// Priority.
    pub priority: Priority,
    /// Hash of the very object that it asks for, see [`ClassMap::target`](crate::class::ClassMap::target).
    pub target: Option<u64>,
}

impl Classified {
    /// What policies by target tell requests apart by: the target, or the class where none is known.
    #[must_use]
    pub fn target_or_class(&self) -> u64 {
        self.target.unwrap_or(self.class.0.into())
    }
}

/// How a choice relates to the server that the class is bound to, or the target where a policy binds those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its own server.
    Hit,
    /// Another server, because its own is too busy.
    Moved,
    /// It has no server of its own, or the policy knows no such thing.
    Unbound,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The server.
    pub server: ServerId,
    /// Why it.
    pub outcome: Outcome,
}

impl Choice {
    /// As the shared decisions say it.
    pub(crate) fn of(decision: Decision) -> Self {
        Self { server: ServerId(decision.server), outcome: Outcome::from_code(decision.outcome) }
    }
}

impl Outcome {
    /// From one of [`outcome`]'s numbers; any other is [`Outcome::Unbound`].
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        match code {
            outcome::HIT => Self::Hit,
            outcome::MOVED => Self::Moved,
            _ => Self::Unbound,
        }
    }
}

/// How the front-end's program can choose as a policy does, without asking it.
#[derive(Debug, Clone, Copy)]
pub enum InKernel<'a> {
    /// It cannot.
    No,
    /// By Fig. 7, from the servers of each class.
    Bound(&'a Context),
    /// By weights and given homes.
    Weighted(&'a Weighted),
    /// By hash alone.
    Hash,
    /// After this server, or the first.
    RoundRobin(Option<ServerId>),
    /// By chance alone.
    Random,
    /// By chance and q.
    TwoChoices,
}

/// A target that is asked for much, and its home.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HotHome {
    /// See [`Classified::target_or_class`].
    pub target: u64,
    /// The home it was given.
    pub server: ServerId,
    /// Its requests, where 1.0 is a server's fair share of all.
    pub share: f64,
}

/// A dispatching policy of one service.
pub trait Policy: Debug + Send {
    /// The name that a configuration gives.
    fn name(&self) -> &'static str;

    /// Chooses among `servers`; `None` when there is none.
    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Choice>;

    /// Learns from a choice that was made elsewhere by what this policy had told, as if it had made it itself.
    fn observed(&mut self, request: Classified, choice: Choice, servers: &ServerView<'_>, rng: &mut dyn Rng) {
        let _ = (request, choice, servers, rng);
    }

    /// How the front-end's program can choose as this policy does.
    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::No
    }

    /// A report of `server` has arrived and is in the view; it touches `classes` (of any service).
    fn reported(&mut self, server: ServerId, classes: &[ClassId], servers: &ServerView<'_>) {
        let _ = (server, classes, servers);
    }

    /// The server that `class` is bound to, if the policy binds classes.
    fn bound_server(&self, class: ClassId) -> Option<ServerId> {
        let _ = class;
        None
    }

    /// The weight of `server`, where 1.0 is the mean, if the policy hashes targets by weights.
    fn weight(&self, server: ServerId) -> Option<f64> {
        let _ = server;
        None
    }

    /// Targets whose home is not found by hashing, the hottest first.
    fn hot_homes(&self) -> Vec<HotHome> {
        Vec::new()
    }

    /// Entries that the front-end keeps for it now: pairs of a class or target and one of its servers.
    fn entries(&self) -> usize {
        0
    }
}

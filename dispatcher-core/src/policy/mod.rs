//! Policies: which eligible server gets a request. Owns the trait and the list of names; each policy has a file of
//! its own. A policy sees servers only through [`ServerView`], so it cannot choose one that is down.

mod bind_table;
mod context;
mod round_robin;
#[cfg(test)]
mod tests;

use std::{fmt::Debug, time::Duration};

use rand::Rng;
use thiserror::Error;

use crate::{
    cluster::ServerView,
    ids::{ClassId, Priority, ServerId},
};

pub use bind_table::{BindTable, TableKind};
pub use context::{Context, LoadThreshold};
pub use round_robin::RoundRobin;

/// All names that a configuration may give.
pub const NAMES: &[&str] = &[Context::NAME, RoundRobin::NAME];

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

    /// A report of `server` has arrived and is in the view; it touches `classes` (of any service).
    fn reported(&mut self, server: ServerId, classes: &[ClassId], servers: &ServerView<'_>) {
        let _ = (server, classes, servers);
    }

    /// The server that `class` is bound to, if the policy binds classes.
    fn bound_server(&self, class: ClassId) -> Option<ServerId> {
        let _ = class;
        None
    }

    /// Entries that the front-end keeps for it now: pairs of a class or target and one of its servers.
    fn entries(&self) -> usize {
        0
    }
}

/// Which policy a service has, and its parameters. Parameters of other policies are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// One of [`NAMES`].
    pub name: String,
    /// How `context` keeps its table.
    pub table: TableKind,
    /// T_load of `context`.
    pub load_threshold: LoadThreshold,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            name: Context::NAME.into(),
            table: TableKind::default(),
            load_threshold: LoadThreshold::default(),
        }
    }
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown policy {name:?}; use one of: {}", NAMES.join(", "))]
pub struct UnknownPolicy {
    /// The name that was given.
    pub name: String,
}

impl PolicySettings {
    /// Builds the policy for a service with `class_count` classes from `base` on.
    ///
    /// # Errors
    /// When no policy has the name.
    pub fn build(&self, base: ClassId, class_count: usize) -> Result<Box<dyn Policy>, UnknownPolicy> {
        match self.name.as_str() {
            Context::NAME => {
                let table = BindTable::new(self.table, base, class_count);
                Ok(Box::new(Context::new(table, self.load_threshold)))
            }
            RoundRobin::NAME => Ok(Box::<RoundRobin>::default()),
            _ => Err(UnknownPolicy { name: self.name.clone() }),
        }
    }
}

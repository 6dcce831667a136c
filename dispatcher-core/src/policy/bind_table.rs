//! The bind-table: class → server, kept by Eq. 1 and 2 of the paper. Owns the ways of keeping it; when to depart
//! from it is `context`'s.

use std::cmp::Ordering;

use super::{LoadThreshold, replica_sets::ReplicaSets, server_counts::ServerCounts};
use crate::{
    cluster::{Server, ServerView},
    ids::{ClassId, ServerId},
};

/// What becomes of an entry while no server holds a request of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TableKind {
    /// It goes back to NULL, as the paper has it.
    Faithful,
    /// It keeps its server, and is first set by the first dispatch of its class.
    Sticky,
    /// As sticky, but entries follow the work that is asked for instead of reports, and hot classes have more than one
    /// server.
    Replicated,
    /// There is none: [`Weighted`](super::Weighted) finds the server of each target by hashing.
    #[default]
    Weighted,
}

impl TableKind {
    /// T_load where nothing else is said. The paper's 600 is 48 requests at its mean service time of 12.5. Weights even out
    /// demand, so that a request may wait longer for its home.
    #[must_use]
    pub fn load_threshold(self) -> LoadThreshold {
        match self {
            Self::Faithful | Self::Sticky | Self::Replicated => LoadThreshold::Requests(48),
            Self::Weighted => LoadThreshold::Requests(72),
        }
    }
}

/// The bind-table of one service.
#[derive(Debug, Clone)]
pub struct BindTable {
    kind: TableKind,
    base: ClassId,
    entries: Vec<Option<ServerId>>,
    /// How many classes each server has.
    bound: ServerCounts,
}

impl BindTable {
    /// An empty table for `class_count` classes from `base` on.
    #[must_use]
    pub fn new(kind: TableKind, base: ClassId, class_count: usize) -> Self {
        Self { kind, base, entries: vec![None; class_count], bound: ServerCounts::default() }
    }

    /// The server of `class`; `None` also for classes of other services.
    #[must_use]
    pub fn get(&self, class: ClassId) -> Option<ServerId> {
        *self.entries.get(self.place(class)?)?
    }

    /// How many classes are bound.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.bound.total()
    }

    /// How many classes have `server` as their entry.
    pub(super) fn bound_classes(&self, server: ServerId) -> u32 {
        self.bound.of(server)
    }

    /// Of `servers` the one with the least T; where T is equal the one with fewer bound classes, then the lower id. An idle
    /// cluster has T = 0 everywhere, and without this rule all classes would begin on its first server.
    pub(super) fn least_loaded<'a>(&self, servers: impl Iterator<Item = &'a Server>) -> Option<&'a Server> {
        let rank = |server: &Server| (self.bound.of(server.id()), server.id());
        servers.min_by(|a, b| a.load_us().cmp(&b.load_us()).then_with(|| rank(a).cmp(&rank(b))))
    }

    /// Empty replica sets for the table's classes, if it is of the kind that has them.
    pub(super) fn replica_sets(&self) -> Option<ReplicaSets> {
        let has_sets = self.kind == TableKind::Replicated;
        has_sets.then(|| ReplicaSets::new(self.base, self.entries.len()))
    }

    /// Sets the entry of `class` from the reports: `argmax_i H(class, i)`.
    pub fn refresh(&mut self, class: ClassId, servers: &ServerView<'_>) {
        let strongest = strongest(class, servers);
        if strongest.is_some() || self.kind == TableKind::Faithful {
            self.set(class, strongest);
        }
    }

    /// Binds `class` to `server` because of a dispatch. A faithful table learns only from reports.
    pub fn adopt(&mut self, class: ClassId, server: ServerId) {
        if self.kind != TableKind::Faithful {
            self.set(class, Some(server));
        }
    }

    fn set(&mut self, class: ClassId, server: Option<ServerId>) {
        let Some(entry) = self.place(class).and_then(|place| self.entries.get_mut(place)) else { return };
        let old = std::mem::replace(entry, server);
        old.into_iter().for_each(|old| self.bound.take(old));
        server.into_iter().for_each(|new| self.bound.add(new));
    }

    fn place(&self, class: ClassId) -> Option<usize> {
        class.index().checked_sub(self.base.index())
    }
}

/// Eq. 2: the server with the largest `R_i/q_i`, which has the largest H too, since all H of a class share one
/// denominator. `None` when no server holds a request of the class; a tie goes to the lower T, then the lower id.
fn strongest(class: ClassId, servers: &ServerView<'_>) -> Option<ServerId> {
    let holding = servers.iter().filter(|server| share(server, class).0 > 0);
    let strongest = holding.reduce(|best, server| match compare_shares(server, best, class) {
        Ordering::Greater => server,
        Ordering::Equal if server.load_us() < best.load_us() => server,
        _ => best,
    });
    strongest.map(Server::id)
}

/// `R_i` and `q_i` of the last report; 0/1 when q is 0.
fn share(server: &Server, class: ClassId) -> (u64, u64) {
    match server.reported_queue() {
        0 => (0, 1),
        queue => (server.reported_held(class).into(), queue.into()),
    }
}

/// Compares two fractions without rounding.
fn compare_shares(a: &Server, b: &Server, class: ClassId) -> Ordering {
    let ((held_a, queue_a), (held_b, queue_b)) = (share(a, class), share(b, class));
    (held_a * queue_b).cmp(&(held_b * queue_a))
}

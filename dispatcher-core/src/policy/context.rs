//! The paper's policy: a request goes to the server that its class is bound to, unless that one is much busier
//! than the least busy (Fig. 7). Owns T_load and the departure from the bind-table.
//!
//! Source: Chen, Hou, Lee, *A Context-Based Request Dispatching Policy for Layer-7 Web Cluster*, Eq. 1–2, Fig. 7; the sets of
//! hot classes are ours. State: one entry for each class, and with replica sets at most one more for each server.
//! A table of the kind `weighted`, the default, is a policy of its own, [`Weighted`](super::Weighted). Choose this one when whole
//! classes should stay together: `faithful` to compare with the paper, `sticky` when no class is much above one server's
//! share, `replicated` when some are or servers differ in speed.

use std::time::Duration;

use rand::Rng;

use super::{BindTable, Choice, Classified, Outcome, Policy, replica_sets::ReplicaSets};
use crate::{
    cluster::{Server, ServerView},
    ids::{ClassId, ServerId},
};

/// T_load: how much more work than the least busy server a class's own server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadThreshold {
    /// So many times the mean service time of a request.
    Requests(u32),
    /// Work, in service time.
    Work(Duration),
}

impl LoadThreshold {
    /// The threshold as service time.
    pub(crate) fn work(self, servers: &ServerView<'_>) -> Duration {
        match self {
            Self::Requests(count) => servers.mean_service_time().saturating_mul(count),
            Self::Work(work) => work,
        }
    }
}

/// The context policy of one service.
#[derive(Debug, Clone)]
pub struct Context {
    table: BindTable,
    replicas: Option<ReplicaSets>,
    threshold: LoadThreshold,
}

impl Context {
    /// The configured name.
    pub const NAME: &'static str = "context";

    /// Begins with the given table, usually empty.
    #[must_use]
    pub fn new(table: BindTable, threshold: LoadThreshold) -> Self {
        Self { replicas: table.replica_sets(), table, threshold }
    }

    /// The class's own server, the least loaded if it has more. If none of them is eligible, what the reports of the others
    /// say.
    fn bound<'a>(&mut self, class: ClassId, servers: &ServerView<'a>) -> Option<&'a Server> {
        let entry = self.table.get(class)?;
        let others = self.replicas.iter().flat_map(|replicas| replicas.others(class).iter());
        let own = others.chain([entry]).filter_map(|id| servers.get(id));
        own.min_by_key(|server| (server.load_us(), server.id())).or_else(|| {
            self.table.refresh(class, servers);
            self.table.get(class).and_then(|entry| servers.get(entry))
        })
    }

    /// Fig. 7.
    fn decide(&mut self, class: ClassId, servers: &ServerView<'_>) -> Option<Choice> {
        let least = self.table.least_loaded(servers.iter())?;
        let Some(bound) = self.bound(class, servers) else {
            self.table.adopt(class, least.id());
            return Some(Choice { server: least.id(), outcome: Outcome::Unbound });
        };
        let excess = bound.load().saturating_sub(least.load());
        Some(if excess > self.threshold.work(servers) {
            Choice { server: least.id(), outcome: Outcome::Moved }
        } else {
            Choice { server: bound.id(), outcome: Outcome::Hit }
        })
    }
}

impl Policy for Context {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        _rng: &mut dyn Rng,
    ) -> Option<Choice> {
        let choice = self.decide(request.class, servers)?;
        if let Some(replicas) = &mut self.replicas {
            replicas.count(request.class, choice, &mut self.table, servers);
        }
        Some(choice)
    }

    fn reported(&mut self, _server: ServerId, classes: &[ClassId], servers: &ServerView<'_>) {
        // A replicated table follows demand: a server that has just been relieved of a class still holds most of its
        // requests, and must not get it back for that.
        if self.replicas.is_none() {
            classes.iter().for_each(|&class| self.table.refresh(class, servers));
        }
    }

    fn bound_server(&self, class: ClassId) -> Option<ServerId> {
        self.table.get(class)
    }

    fn entries(&self) -> usize {
        self.table.entries() + self.replicas.as_ref().map_or(0, ReplicaSets::entries)
    }
}

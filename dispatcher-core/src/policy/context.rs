//! The paper's policy: a request goes to the server that its class is bound to, unless that one is much busier
//! than the least busy (Fig. 7). Owns T_load and the departure from the bind-table.
//!
//! Source: Chen, Hou, Lee, *A Context-Based Request Dispatching Policy for Layer-7 Web Cluster*, Eq. 1–2, Fig. 7; the sets of
//! hot classes are ours. State: one entry for each class, and with replica sets at most one more for each server.
//! A table of the kind `weighted`, the default, is a policy of its own, [`Weighted`](super::Weighted). Choose this one when whole
//! classes should stay together: `faithful` to compare with the paper, `sticky` when no class is much above one server's
//! share, `replicated` when some are or servers differ in speed.

use std::time::Duration;

use dispatcher_common::choice::{Bound, ClassServers};
use rand::Rng;

use super::{
    BindTable, Choice, Classified, InKernel, Outcome, Policy, replica_sets::ReplicaSets,
    server_set::ServerSet,
};
use crate::{
    cluster::ServerView,
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

    /// T_load in µs.
    #[must_use]
    pub fn t_load_us(&self, servers: &ServerView<'_>) -> u64 {
        self.threshold.work(servers).as_micros() as u64
    }

    /// The servers of `class`, whether they are eligible or not.
    #[must_use]
    pub fn class_servers(&self, class: ClassId) -> ClassServers {
        let Some(entry) = self.table.get(class) else { return ClassServers::default() };
        let mut servers = self.replicas.as_ref().map_or_else(ServerSet::default, |sets| sets.others(class));
        servers.insert(entry);
        servers.bits()
    }

    /// How many classes have `server` as their entry.
    #[must_use]
    pub fn bound_classes(&self, server: ServerId) -> u32 {
        self.table.bound_classes(server)
    }

    /// What Fig. 7 asks of the servers.
    fn bound(&self, class: ClassId, servers: &ServerView<'_>) -> Bound {
        let (own, mut bound) = (self.class_servers(class), Bound::default());
        for server in servers.iter() {
            let id = server.id();
            bound.offer(id.0, server.load_us(), self.bound_classes(id), own.contains(id.0));
        }
        bound
    }

    /// Fig. 7. If none of the class's servers is eligible, its own is what the reports of the others say.
    fn decide(&mut self, class: ClassId, servers: &ServerView<'_>) -> Option<Choice> {
        let t_load_us = self.t_load_us(servers);
        let bound = self.bound(class, servers);
        let least = ServerId(bound.least.server()?);
        if let Some(decision) = bound.decide(t_load_us) {
            return Some(Choice::of(decision));
        }
        if self.table.get(class).is_some() {
            self.table.refresh(class, servers);
            let refreshed = Bound { least: bound.least, ..self.bound(class, servers) };
            if let Some(decision) = refreshed.decide(t_load_us) {
                return Some(Choice::of(decision));
            }
        }
        self.table.adopt(class, least);
        Some(Choice { server: least, outcome: Outcome::Unbound })
    }

    fn learn(&mut self, class: ClassId, choice: Choice, servers: &ServerView<'_>) {
        if let Some(replicas) = &mut self.replicas {
            replicas.count(class, choice, &mut self.table, servers);
        }
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
        self.learn(request.class, choice, servers);
        Some(choice)
    }

    fn observed(
        &mut self,
        request: Classified,
        choice: Choice,
        servers: &ServerView<'_>,
        _rng: &mut dyn Rng,
    ) {
        self.learn(request.class, choice, servers);
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::Bound(self)
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

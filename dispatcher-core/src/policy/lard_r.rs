//! LARD/R, LARD with replication: a target has a set of servers, of which the least loaded gets the request. The set
//! grows by the least loaded of all on LARD's own test, and shrinks when it has been the same for long.
//!
//! Source: V. Pai et al., *Locality-Aware Request Distribution in Cluster-based Network Servers*, ASPLOS 1998, Figure 3. As
//! there, a set of more than one that has not changed for 20 s loses its most loaded server; one that grows by this very
//! request has changed, and the server that gets the request stays. A server that is out leaves the sets that name it when these are next used, which is a change. Load and
//! ties are as in [`lard`](super::Lard); within a set ties go to the lower id.
//! State: for each target one entry for each server of its set, at most `max_targets` sets. Choose it when objects are few
//! enough for that and some are too hot for one server.

use std::time::Duration;

use rand::Rng;

use super::{
    Choice, Classified, LardSettings, Outcome, Policy, lard::least_loaded, server_counts::ServerCounts,
    server_set::ServerSet, target_table::TargetTable,
};
use crate::{
    cluster::{Server, ServerView},
    ids::ServerId,
};

/// The servers of a target.
#[derive(Debug, Clone, Copy)]
struct Replicas {
    servers: ServerSet,
    changed_at: Duration,
}

impl Replicas {
    fn remove_ineligible(&mut self, view: &ServerView<'_>, targets: &mut ServerCounts, now: Duration) {
        for server in self.servers.iter().filter(|&server| view.get(server).is_none()) {
            self.remove(server, targets, now);
        }
    }

    fn remove(&mut self, server: ServerId, targets: &mut ServerCounts, now: Duration) {
        if self.servers.remove(server) {
            targets.take(server);
            self.changed_at = now;
        }
    }

    fn add(&mut self, server: ServerId, targets: &mut ServerCounts, now: Duration) {
        if self.servers.insert(server) {
            targets.add(server);
            self.changed_at = now;
        }
    }

    fn least_and_most_loaded<'a>(&self, view: &ServerView<'a>) -> Option<(&'a Server, &'a Server)> {
        let load = |server: &&Server| (server.queue(), server.id());
        let own = || self.servers.iter().filter_map(|server| view.get(server));
        Some((own().min_by_key(load)?, own().max_by_key(load)?))
    }
}

/// LARD/R of one service.
#[derive(Debug, Clone)]
pub struct LardR {
    settings: LardSettings,
    table: TargetTable<Replicas>,
    targets: ServerCounts,
}

impl LardR {
    /// The configured name.
    pub const NAME: &'static str = "lard-r";

    /// Begins with an empty table.
    #[must_use]
    pub fn new(settings: LardSettings) -> Self {
        let table = TargetTable::new(settings.max_targets);
        Self { settings, table, targets: ServerCounts::default() }
    }

    /// Chooses within the target's set, which may change; `None` when it has no eligible server.
    fn choose_replica(&mut self, target: u64, servers: &ServerView<'_>, now: Duration) -> Option<Choice> {
        let Self { settings, table, targets } = self;
        let replicas = table.get_mut(target)?;
        replicas.remove_ineligible(servers, targets, now);
        let (least, most) = replicas.least_and_most_loaded(servers)?;
        let mut choice = Choice { server: least.id(), outcome: Outcome::Hit };
        if settings.is_too_busy(least, servers) {
            let other = least_loaded(servers, targets).filter(|other| other.queue() < least.queue());
            if let Some(other) = other {
                choice = Choice { server: other.id(), outcome: Outcome::Moved };
                replicas.add(other.id(), targets, now);
            }
        }
        let unchanged_for = now.saturating_sub(replicas.changed_at);
        if unchanged_for > settings.set_timeout && most.id() != choice.server {
            replicas.remove(most.id(), targets, now);
        }
        Some(choice)
    }

    fn assign(&mut self, target: u64, servers: &ServerView<'_>, now: Duration) -> Option<Choice> {
        let server = least_loaded(servers, &self.targets)?.id();
        let mut replicas = Replicas { servers: ServerSet::default(), changed_at: now };
        replicas.add(server, &mut self.targets, now);
        if let Some(gone) = self.table.set(target, replicas) {
            gone.servers.iter().for_each(|server| self.targets.take(server));
        }
        Some(Choice { server, outcome: Outcome::Unbound })
    }
}

impl Policy for LardR {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        now: Duration,
        _rng: &mut dyn Rng,
    ) -> Option<Choice> {
        let target = request.target_or_class();
        self.choose_replica(target, servers, now).or_else(|| self.assign(target, servers, now))
    }

    fn entries(&self) -> usize {
        self.targets.total()
    }
}

//! LARD, basic: a target stays with one server until that one is overloaded while another is not, or is at twice the
//! limit; then it moves to the least loaded. Owns the limits, which LARD/R shares.
//!
//! Source: V. Pai et al., *Locality-Aware Request Distribution in Cluster-based Network Servers*, ASPLOS 1998, Figure 2.
//! Its load is the number of connections "that have been handed off, have not yet completed and are showing request activity":
//! here the requests that a server holds by its report, and own dispatches since. Open connections would count browsers
//! that merely keep one. Its T_low and T_high are 25 and 65; the paper that we implement compares with 55 and 65.
//! Where load is equal, a target stays with its own server, and a new one goes to the server with fewer targets, then the
//! lower id; the source is silent on it.
//! State: one entry for each target, at most `max_targets`; the one used least recently makes room. Choose it when objects
//! are few enough for that, and asked for about equally often.

use std::time::Duration;

use rand::Rng;

use super::{Choice, Classified, Outcome, Policy, server_counts::ServerCounts, target_table::TargetTable};
use crate::{
    cluster::{Server, ServerView},
    ids::ServerId,
};

/// Parameters of LARD and LARD/R.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LardSettings {
    /// T_low: a server that holds fewer requests has resources idle.
    pub t_low: u32,
    /// T_high: a server that holds more makes its requests wait too long.
    pub t_high: u32,
    /// Most targets that are remembered.
    pub max_targets: u32,
    /// Only LARD/R: a set that has not changed for longer loses a server.
    pub set_timeout: Duration,
}

impl Default for LardSettings {
    /// The authors' own limits and time; 65 536 targets take 4 to 7 MB.
    fn default() -> Self {
        Self { t_low: 25, t_high: 65, max_targets: 65_536, set_timeout: Duration::from_secs(20) }
    }
}

impl LardSettings {
    /// Whether requests should leave `server` for another.
    pub(super) fn is_too_busy(&self, server: &Server, servers: &ServerView<'_>) -> bool {
        let held = server.queue();
        held >= self.t_high.saturating_mul(2)
            || held > self.t_high && servers.iter().any(|other| other.queue() < self.t_low)
    }
}

/// The server that holds the fewest requests.
pub(super) fn least_loaded<'a>(servers: &ServerView<'a>, targets: &ServerCounts) -> Option<&'a Server> {
    servers.iter().min_by_key(|server| (server.queue(), targets.of(server.id()), server.id()))
}

/// LARD of one service.
#[derive(Debug, Clone)]
pub struct Lard {
    settings: LardSettings,
    table: TargetTable<ServerId>,
    targets: ServerCounts,
}

impl Lard {
    /// The configured name.
    pub const NAME: &'static str = "lard";

    /// Begins with an empty table.
    #[must_use]
    pub fn new(settings: LardSettings) -> Self {
        let table = TargetTable::new(settings.max_targets);
        Self { settings, table, targets: ServerCounts::default() }
    }

    fn assign(&mut self, target: u64, server: ServerId) {
        if let Some(gone) = self.table.set(target, server) {
            self.targets.take(gone);
        }
        self.targets.add(server);
    }
}

impl Policy for Lard {
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
        let target = request.target_or_class();
        let Some(own) = self.table.get_mut(target).and_then(|own| servers.get(*own)) else {
            let least = least_loaded(servers, &self.targets)?;
            self.assign(target, least.id());
            return Some(Choice { server: least.id(), outcome: Outcome::Unbound });
        };
        if !self.settings.is_too_busy(own, servers) {
            return Some(Choice { server: own.id(), outcome: Outcome::Hit });
        }
        match least_loaded(servers, &self.targets).filter(|least| least.queue() < own.queue()) {
            Some(least) => {
                self.assign(target, least.id());
                Some(Choice { server: least.id(), outcome: Outcome::Moved })
            }
            None => Some(Choice { server: own.id(), outcome: Outcome::Hit }),
        }
    }

    fn entries(&self) -> usize {
        self.targets.total()
    }
}

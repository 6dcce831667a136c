//! Round robin: each request goes to the next eligible server, whatever it asks for.
//!
//! Source: the paper's baseline (RR in Figures 8–11). State: one server id. Choose it when servers are alike, requests
//! are alike and nothing is cached; it is also the policy to compare others with.

use std::time::Duration;

use rand::Rng;

use super::{Choice, Classified, Outcome, Policy};
use crate::{
    cluster::{Server, ServerView},
    ids::ServerId,
};

/// Round robin of one service.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    last: Option<ServerId>,
}

impl RoundRobin {
    /// The configured name.
    pub const NAME: &'static str = "round-robin";
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        _request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        _rng: &mut dyn Rng,
    ) -> Option<Choice> {
        let after_last = servers.iter().find(|server| self.last.is_none_or(|last| server.id() > last));
        let server = after_last.or_else(|| servers.iter().next()).map(Server::id)?;
        self.last = Some(server);
        Some(Choice { server, outcome: Outcome::Unbound })
    }
}

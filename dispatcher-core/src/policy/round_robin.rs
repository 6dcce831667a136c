//! Round robin: each request goes to the next eligible server, whatever it asks for.
//!
//! Source: the paper's baseline (RR in Figures 8–11). State: one server id. Choose it when servers are alike, requests
//! are alike and nothing is cached; it is also the policy to compare others with.

use std::time::Duration;

use dispatcher_common::choice::{NO_SERVER, NextTurn};
use rand::Rng;

use super::{Choice, Classified, InKernel, Outcome, Policy};
use crate::{cluster::ServerView, ids::ServerId};

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
        let mut turn = NextTurn::after(self.last.map_or(NO_SERVER, |last| last.0));
        servers.iter().for_each(|server| turn.offer(server.id().0));
        let server = ServerId(turn.server()?);
        self.last = Some(server);
        Some(Choice { server, outcome: Outcome::Unbound })
    }

    fn observed(
        &mut self,
        _request: Classified,
        choice: Choice,
        _servers: &ServerView<'_>,
        _rng: &mut dyn Rng,
    ) {
        self.last = Some(choice.server);
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::RoundRobin(self.last)
    }
}

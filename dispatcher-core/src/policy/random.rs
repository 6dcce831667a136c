//! Random: each request goes to any eligible server, all alike.
//!
//! Source: the paper's baseline. State: none. Choose it when several front-ends share servers that are alike and nothing is
//! cached: unlike round robin they cannot fall into step.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Choice, Classified, InKernel, Outcome, Policy};
use crate::cluster::{Server, ServerView};

/// Random choice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Random {
    /// The configured name.
    pub const NAME: &'static str = "random";
}

impl Policy for Random {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        _request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Choice> {
        any(servers, rng).map(|server| Choice { server: server.id(), outcome: Outcome::Unbound })
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::Random
    }
}

/// Any eligible server.
pub(super) fn any<'a>(servers: &ServerView<'a>, rng: &mut dyn Rng) -> Option<&'a Server> {
    match servers.iter().count() as u32 {
        0 => None,
        count => servers.iter().nth(rng.random_range(0..count) as usize),
    }
}

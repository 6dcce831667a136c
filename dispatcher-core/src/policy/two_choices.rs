//! Power of two choices: of two different eligible servers, taken at random, the one that holds fewer requests gets the
//! request; the first one when they hold the same number.
//!
//! Source: M. Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*, 1996. State: none. Choose it when many
//! front-ends share the servers and nothing is cached: it is nearly as even as "least loaded", and front-ends do not herd on
//! the one server that all think idle.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Choice, Classified, Outcome, Policy};
use crate::cluster::{Server, ServerView};

/// The better of two at random.
#[derive(Debug, Clone, Copy, Default)]
pub struct TwoChoices;

impl TwoChoices {
    /// The configured name.
    pub const NAME: &'static str = "two-choices";
}

impl Policy for TwoChoices {
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
        let better = two(servers, rng).into_iter().flatten().min_by_key(|server| server.queue())?;
        Some(Choice { server: better.id(), outcome: Outcome::Unbound })
    }
}

/// Two different servers, every ordered pair alike; fewer where there are fewer.
fn two<'a>(servers: &ServerView<'a>, rng: &mut dyn Rng) -> [Option<&'a Server>; 2] {
    let count = servers.iter().count() as u32;
    if count < 2 {
        return [servers.iter().next(), None];
    }
    let first = rng.random_range(0..count);
    let other = rng.random_range(0..count - 1);
    let second = other + u32::from(other >= first);
    [first, second].map(|at| servers.iter().nth(at as usize))
}

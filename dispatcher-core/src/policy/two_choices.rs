//! Power of two choices: of two different eligible servers, taken at random, the one that holds fewer requests gets the
//! request; the first one when they hold the same number.
//!
//! Source: M. Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*, 1996. State: none. Choose it when many
//! front-ends share the servers and nothing is cached: it is nearly as even as "least loaded", and front-ends do not herd on
//! the one server that all think idle.

use std::time::Duration;

use dispatcher_common::choice::{better, other_than};
use rand::{Rng, RngExt};

use super::{Choice, Classified, InKernel, Outcome, Policy};
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
        let [first, second] = two(servers, rng);
        let first = first?;
        let second = second.filter(|second| better(first.queue(), second.queue()));
        Some(Choice { server: second.unwrap_or(first).id(), outcome: Outcome::Unbound })
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::TwoChoices
    }
}

/// Two different servers, every ordered pair alike; fewer where there are fewer.
fn two<'a>(servers: &ServerView<'a>, rng: &mut dyn Rng) -> [Option<&'a Server>; 2] {
    let count = servers.iter().count() as u32;
    if count < 2 {
        return [servers.iter().next(), None];
    }
    let first = rng.random_range(0..count);
    let second = other_than(first, rng.random_range(0..count - 1));
    [first, second].map(|at| servers.iter().nth(at as usize))
}

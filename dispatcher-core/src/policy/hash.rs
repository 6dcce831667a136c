//! Hash: a target always goes to the same eligible server, however busy that is.
//!
//! Source: the paper's baseline, with rendezvous hashing (D. Thaler, C. Ravishankar, *Using Name-Based Mappings to Increase
//! Hit Rates*, 1998) where a plain modulo would do: a server that leaves gives away only its own targets, and gets them
//! back when it returns; modulo would move nearly all. The server with the largest hash of target and id wins.
//! State: none. Choose it when every object must be cached once, objects are asked for about equally often, and servers
//! are alike.

use std::time::Duration;

use dispatcher_common::choice::{Highest, spread};
use rand::Rng;

use super::{Choice, Classified, InKernel, Outcome, Policy};
use crate::{cluster::ServerView, ids::ServerId};

/// Rendezvous hashing of targets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hash;

impl Hash {
    /// The configured name.
    pub const NAME: &'static str = "hash";
}

impl Policy for Hash {
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
        let mut highest = Highest::default();
        servers.iter().for_each(|server| highest.offer(server.id().0, spread(target, server.id().0.into())));
        Some(Choice { server: ServerId(highest.server()?), outcome: Outcome::Hit })
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::Hash
    }
}

//! Join-idle-queue: servers that are idle wait in a line, and a request takes the first; while nobody waits, any server
//! gets it.
//!
//! Source: Y. Lu et al., *Join-Idle-Queue: A Novel Load Balancing Algorithm for Dynamically Scalable Web Services*, 2011
//! (JIQ-Random). There a server announces at once that it is idle; here its report does, so a server that becomes idle twice
//! between two reports joins once. One that got a random request while it waited is passed over: we know of it.
//! State: a line of at most N servers. Choose it when requests are long compared with the report interval, and nothing is
//! cached.

use std::{collections::VecDeque, time::Duration};

use rand::Rng;

use super::{Choice, Classified, Outcome, Policy, random, server_set::ServerSet};
use crate::{
    cluster::ServerView,
    ids::{ClassId, ServerId},
};

/// The line of idle servers of one service.
#[derive(Debug, Clone, Default)]
pub struct JoinIdleQueue {
    line: VecDeque<ServerId>,
    waiting: ServerSet,
}

impl JoinIdleQueue {
    /// The configured name.
    pub const NAME: &'static str = "join-idle-queue";

    fn next_idle(&mut self, servers: &ServerView<'_>) -> Option<ServerId> {
        while let Some(first) = self.line.pop_front() {
            self.waiting.remove(first);
            if is_idle(first, servers) {
                return Some(first);
            }
        }
        None
    }
}

fn is_idle(server: ServerId, servers: &ServerView<'_>) -> bool {
    servers.get(server).is_some_and(|server| server.queue() == 0)
}

impl Policy for JoinIdleQueue {
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
        let idle = self.next_idle(servers);
        let server = idle.or_else(|| random::any(servers, rng).map(|server| server.id()))?;
        Some(Choice { server, outcome: Outcome::Unbound })
    }

    fn reported(&mut self, server: ServerId, _classes: &[ClassId], servers: &ServerView<'_>) {
        if is_idle(server, servers) && self.waiting.insert(server) {
            self.line.push_back(server);
        }
    }
}

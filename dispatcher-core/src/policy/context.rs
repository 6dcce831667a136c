//! The paper's policy: a request goes to the server that its class is bound to, unless that one is much busier
//! than the least busy (Fig. 7). Owns T_load and the departure from the bind-table.
//!
//! Source: Chen, Hou, Lee, *A Context-Based Request Dispatching Policy for Layer-7 Web Cluster*, Eq. 1–2, Fig. 7.
//! State: one entry per class. Choose it when servers cache and classes differ in what they touch.
//!
//! Where T is equal, the server with fewer bound classes is taken, then the lower id: an idle cluster has T = 0
//! everywhere, and without this rule all classes would begin on the first server.

use std::time::Duration;

use rand::Rng;

use super::{BindTable, Choice, Classified, Outcome, Policy};
use crate::{
    cluster::{Server, ServerView},
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

impl Default for LoadThreshold {
    /// 48 requests: the paper's 600 at its mean service time of 12.5.
    fn default() -> Self {
        Self::Requests(48)
    }
}

impl LoadThreshold {
    fn work(self, servers: &ServerView<'_>) -> Duration {
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
    threshold: LoadThreshold,
}

impl Context {
    /// The configured name.
    pub const NAME: &'static str = "context";

    /// Begins with the given table, usually empty.
    #[must_use]
    pub fn new(table: BindTable, threshold: LoadThreshold) -> Self {
        Self { table, threshold }
    }

    /// The entry of `class` if its server is eligible; if it is not, what the reports of the others say.
    fn bound<'a>(&mut self, class: ClassId, servers: &ServerView<'a>) -> Option<&'a Server> {
        let entry = self.table.get(class)?;
        servers.get(entry).or_else(|| {
            self.table.refresh(class, servers);
            self.table.get(class).and_then(|entry| servers.get(entry))
        })
    }

    fn least_loaded<'a>(&self, servers: &ServerView<'a>) -> Option<&'a Server> {
        servers.iter().min_by_key(|server| (server.load(), self.table.bound_to(server.id()), server.id()))
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
        let least = self.least_loaded(servers)?;
        let Some(bound) = self.bound(request.class, servers) else {
            self.table.adopt(request.class, least.id());
            return Some(Choice { server: least.id(), outcome: Outcome::Unbound });
        };
        let excess = bound.load().saturating_sub(least.load());
        Some(if excess > self.threshold.work(servers) {
            Choice { server: least.id(), outcome: Outcome::Moved }
        } else {
            Choice { server: bound.id(), outcome: Outcome::Hit }
        })
    }

    fn reported(&mut self, _server: ServerId, classes: &[ClassId], servers: &ServerView<'_>) {
        classes.iter().for_each(|&class| self.table.refresh(class, servers));
    }

    fn bound_server(&self, class: ClassId) -> Option<ServerId> {
        self.table.get(class)
    }

    fn entries(&self) -> usize {
        self.table.entries()
    }
}

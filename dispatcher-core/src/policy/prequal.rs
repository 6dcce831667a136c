//! Prequal: among the servers that reported last, those that hold unusually many requests are hot and avoided; of the cold
//! ones the one with the lowest latency gets the request, and if all are hot the one that holds the fewest.
//!
//! Source: B. Wydrowski et al., *Load is not what you should balance: Introducing Prequal*, NSDI 2024 (hot-cold lexicographic
//! rule, RIF quantile 2^-0.25 ≈ 0.84, pool of 16). Reports play the part of probes, so three things differ. The pool keeps
//! the newest report of each server, and the oldest leaves when a 17th server reports; requests in flight (RIF) and latency
//! are those of the model, which counts own dispatches at once, so a report may be used any number of times; and nothing has to
//! be removed for being old, because a silent server is not eligible. Latency is what a server holds and the request itself,
//! in its own service times. Hot is who holds more than the quantile of the last 128 reports; with fewer than two eligible
//! servers in the pool, as in the source, any server is taken.
//! State: the pool and the 128 numbers. Choose it when servers differ in speed or share their hosts with other work, and
//! nothing is cached.

use std::{collections::VecDeque, time::Duration};

use rand::Rng;

use super::{Choice, Classified, Outcome, Policy, random};
use crate::{
    cluster::{Server, ServerView},
    ids::{ClassId, ServerId},
};

/// Reports whose requests in flight make the quantile: eight periods of 16 servers.
const MAX_SAMPLES: usize = 128;

/// Eligible servers in the pool below which any server is taken.
const MIN_POOL: usize = 2;

/// Parameters of Prequal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrequalSettings {
    /// A server is hot when it holds more requests than so many percent of the reports say; 1 to 100.
    pub rif_quantile_percent: u8,
    /// Most servers in the pool.
    pub pool: u16,
}

impl Default for PrequalSettings {
    fn default() -> Self {
        Self { rif_quantile_percent: 84, pool: 16 }
    }
}

/// Prequal of one service.
#[derive(Debug, Clone)]
pub struct Prequal {
    settings: PrequalSettings,
    /// Servers by the age of their reports, oldest first.
    pool: VecDeque<ServerId>,
    samples: VecDeque<u32>,
    /// Most requests that a cold server holds.
    cold_limit: u32,
}

impl Prequal {
    /// The configured name.
    pub const NAME: &'static str = "prequal";

    /// Begins without reports.
    #[must_use]
    pub fn new(settings: PrequalSettings) -> Self {
        Self { settings, pool: VecDeque::new(), samples: VecDeque::new(), cold_limit: 0 }
    }

    fn pooled<'a>(&self, servers: &ServerView<'a>) -> impl Iterator<Item = &'a Server> {
        self.pool.iter().filter_map(|&server| servers.get(server))
    }

    fn best<'a>(&self, class: ClassId, servers: &ServerView<'a>) -> Option<&'a Server> {
        self.pooled(servers).min_by_key(|server| {
            let latency = server.load() + servers.service_time(server.id(), class);
            let hot_held = if server.queue() > self.cold_limit { server.queue() } else { 0 };
            (hot_held, latency, server.id())
        })
    }

    /// The smallest sample that is not below the quantile's share of all.
    fn quantile(&self) -> u32 {
        let mut sorted = [0; MAX_SAMPLES];
        let count = self.samples.len();
        sorted.iter_mut().zip(&self.samples).for_each(|(place, &sample)| *place = sample);
        let rank = (count * usize::from(self.settings.rif_quantile_percent)).div_ceil(100).clamp(1, count);
        *sorted[..count].select_nth_unstable(rank - 1).1
    }
}

impl Policy for Prequal {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Choice> {
        let enough = self.pooled(servers).take(MIN_POOL).count() == MIN_POOL;
        let best = if enough { self.best(request.class, servers) } else { random::any(servers, rng) };
        best.map(|server| Choice { server: server.id(), outcome: Outcome::Unbound })
    }

    fn reported(&mut self, server: ServerId, _classes: &[ClassId], servers: &ServerView<'_>) {
        let Some(reporter) = servers.get(server) else { return };
        self.pool.retain(|&other| other != server);
        self.pool.push_back(server);
        if self.pool.len() > usize::from(self.settings.pool) {
            self.pool.pop_front();
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(reporter.queue());
        self.cold_limit = self.quantile();
    }
}

//! Weighted round robin, weighted by load: the less work a server holds, the more turns it gets.
//!
//! Source: the paper's WRR, for whose weights it says "by load" and no more. Here a server's weight is `mean / (mean + T)`
//! in thousandths, mean being the mean service time: an idle server gets two turns for one of a server that holds one mean
//! request. Turns are taken smoothly, as nginx does: every server's credit grows by its weight, the one with most credit
//! gets the request (a tie goes to the lower id) and pays the sum of all weights.
//! State: one number for each server. Choose it when servers differ in speed and nothing is cached.

use std::time::Duration;

use rand::Rng;

use super::{Choice, Classified, Outcome, Policy};
use crate::{
    cluster::{Server, ServerView},
    ids::ServerId,
};

/// Weight of an idle server; no server has less than 1.
const IDLE_WEIGHT: u64 = 1000;

/// Weighted round robin of one service.
#[derive(Debug, Clone, Default)]
pub struct WeightedRoundRobin {
    /// By server. All together always make 0, so no credit grows beyond the sum of all weights for long.
    credits: Vec<i64>,
}

impl WeightedRoundRobin {
    /// The configured name.
    pub const NAME: &'static str = "weighted-round-robin";

    /// Adds `weight` to the credit of `server` and gives the credit.
    fn earn(&mut self, server: ServerId, weight: i64) -> i64 {
        if self.credits.len() <= server.index() {
            self.credits.resize(server.index() + 1, 0);
        }
        let credit = &mut self.credits[server.index()];
        *credit += weight;
        *credit
    }
}

impl Policy for WeightedRoundRobin {
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
        let mean_us = (servers.mean_service_time().as_micros() as u64).max(1);
        let (mut total, mut best) = (0, None);
        for server in servers.iter() {
            let weight = weight(server, mean_us);
            let credit = self.earn(server.id(), weight);
            total += weight;
            if best.is_none_or(|(most, _)| credit > most) {
                best = Some((credit, server.id()));
            }
        }
        let (_, server) = best?;
        self.earn(server, -total);
        Some(Choice { server, outcome: Outcome::Unbound })
    }
}

fn weight(server: &Server, mean_us: u64) -> i64 {
    (IDLE_WEIGHT * mean_us / mean_us.saturating_add(server.load_us())).max(1) as i64
}

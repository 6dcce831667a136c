//! Evening out: at the end of a window, classes move from the server that most work is bound to, to the one with the least.
//! Without it some servers have more bound than they can do, and the rest of it is moved, and missed in the other servers'
//! caches, request by request and for ever. Owns which class moves; demand is measured by `replica_sets`.
//!
//! The class moves whose going leaves the smaller larger of the two; its work counts at the new server in that one's service
//! times. Nothing moves for less than a thirty-second part of a server: every move costs the misses of a class.

use super::{BindTable, replica_sets::ReplicaSets};
use crate::{
    cluster::{Server, ServerView},
    ids::ServerId,
};

/// Most classes that move at the end of a window.
const MOST_MOVES: u32 = 4;

/// One in so many parts of a server's fair share must be won.
const WORTHWHILE_ONE_IN: u64 = 32;

/// One class changing servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    /// The larger of the two servers' demands afterwards.
    larger_us: u64,
    /// Of the class among those of its service.
    place: usize,
    /// What the class asks of the old and of the new server.
    from_us: u64,
    to_us: u64,
}

impl ReplicaSets {
    /// Moves a few classes without a set.
    pub(super) fn even_out(&mut self, table: &mut BindTable, servers: &ServerView<'_>) {
        self.add_up_demands(table);
        let total_us: u64 = servers.iter().map(|server| self.demand_us(server.id())).sum();
        let worthwhile_us = total_us / (servers.iter().count() as u64 * WORTHWHILE_ONE_IN).max(1);
        for _ in 0..MOST_MOVES {
            let by_demand = |server: &&Server| (self.demand_us(server.id()), server.id());
            let ends = (servers.iter().max_by_key(by_demand), servers.iter().min_by_key(by_demand));
            let (Some(from), Some(to)) = ends else { return };
            let (from, to) = (from.id(), to.id());
            let Some(best) = self.best_move(from, to, table, servers) else { return };
            if best.larger_us.saturating_add(worthwhile_us) >= self.demand_us(from) {
                return;
            }
            *self.demand_mut(from) -= best.from_us;
            *self.demand_mut(to) += best.to_us;
            self.heats[best.place].work_us = best.to_us;
            table.adopt(self.class(best.place), to);
        }
    }

    fn best_move(
        &self,
        from: ServerId,
        to: ServerId,
        table: &BindTable,
        servers: &ServerView<'_>,
    ) -> Option<Move> {
        let places = (0..self.heats.len()).filter(|&place| self.heats[place].others.is_empty());
        let here = places.filter(|&place| table.get(self.class(place)) == Some(from));
        let moves = here.map(|place| {
            let (class, from_us) = (self.class(place), self.heats[place].work_us);
            let times = [from, to].map(|server| servers.service_time(server, class).as_micros().max(1));
            let to_us = u64::try_from(u128::from(from_us) * times[1] / times[0]).unwrap_or(u64::MAX);
            let larger_us = (self.demand_us(from) - from_us).max(self.demand_us(to).saturating_add(to_us));
            Move { larger_us, place, from_us, to_us }
        });
        moves.min()
    }

    /// A class with a set asks its servers for equal parts.
    fn add_up_demands(&mut self, table: &BindTable) {
        self.demands_us.clear();
        for place in 0..self.heats.len() {
            let (heat, entry) = (self.heats[place], table.get(self.class(place)));
            let part_us = heat.work_us / (1 + heat.others.len() as u64);
            for server in heat.others.iter().chain(entry) {
                *self.demand_mut(server) += part_us;
            }
        }
    }

    fn demand_mut(&mut self, server: ServerId) -> &mut u64 {
        if self.demands_us.len() <= server.index() {
            self.demands_us.resize(server.index() + 1, 0);
        }
        &mut self.demands_us[server.index()]
    }

    fn demand_us(&self, server: ServerId) -> u64 {
        self.demands_us.get(server.index()).copied().unwrap_or(0)
    }
}

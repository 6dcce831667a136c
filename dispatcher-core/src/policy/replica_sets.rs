//! Replica sets of hot classes: which servers a class has beside its entry in the bind-table, by the work that requests
//! ask for. Owns when a set grows and shrinks; who of a set gets a request is `context`'s, moving classes without a set
//! to even out servers is `even_out`'s.
//!
//! A class gets one more server when it is often moved (16 of its requests, and half of all since its set last grew or
//! the window began): the server that the last one went to. At the end of a window of requests it gets one, too, if its share
//! of the service's work is more than a quarter of a server above what its set stands for. A set whose class was not often
//! moved for a whole window, and would have a quarter of a server to spare without it, gives up its most loaded server. So a
//! class with a set leaves a slow server by growing and shrinking, and one that is silent ends with one server.
//!
//! Work is counted in expected service times, half of it being forgotten with every window. A server's fair share is the Nth
//! part. Only classes above it need a set, and all needs together are at most N servers, so that is the limit of all sets
//! together: K + N entries at most.

use super::{BindTable, Choice, Outcome, server_set::ServerSet};
use crate::{
    cluster::ServerView,
    ids::{ClassId, ServerId},
};

/// Requests of a window for each class, so that chance is small beside demand; and bounds, so that windows neither follow
/// chance when classes are few nor take for ever.
const WINDOW_PER_CLASS: u32 = 32;
const MIN_WINDOW: u32 = 1024;
const MAX_WINDOW: u32 = 65_536;

/// A class is often moved when this many of its requests were, and one in so many.
const OFTEN: u32 = 16;
const OFTEN_ONE_IN: u32 = 2;

/// What is known of a class.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heat {
    /// Of this window, half of the one before, a quarter of that before, and so on.
    pub(super) work_us: u64,
    /// Since the set last grew for being moved, or the window began.
    requests: u32,
    moved: u32,
    /// In this window.
    often_moved: bool,
    /// Its servers beside its entry.
    pub(super) others: ServerSet,
}

/// The sets of all classes of one service.
#[derive(Debug, Clone)]
pub(super) struct ReplicaSets {
    pub(super) base: ClassId,
    pub(super) heats: Vec<Heat>,
    /// By server, to even out.
    pub(super) demands_us: Vec<u64>,
    window: u32,
    requests: u32,
}

impl ReplicaSets {
    pub(super) fn new(base: ClassId, class_count: usize) -> Self {
        let window = (class_count as u32).saturating_mul(WINDOW_PER_CLASS).clamp(MIN_WINDOW, MAX_WINDOW);
        Self { base, heats: vec![Heat::default(); class_count], demands_us: Vec::new(), window, requests: 0 }
    }

    /// The servers of `class` beside its entry.
    pub(super) fn others(&self, class: ClassId) -> ServerSet {
        self.place(class)
            .and_then(|place| self.heats.get(place))
            .map_or(ServerSet::default(), |heat| heat.others)
    }

    /// Servers of all sets together, beside the entries.
    pub(super) fn entries(&self) -> usize {
        self.heats.iter().map(|heat| heat.others.len()).sum()
    }

    /// Lets a dispatch count, after which sets and entries may change.
    pub(super) fn count(
        &mut self,
        class: ClassId,
        choice: Choice,
        table: &mut BindTable,
        servers: &ServerView<'_>,
    ) {
        let Some(place) = self.place(class) else { return };
        let Some(heat) = self.heats.get_mut(place) else { return };
        heat.requests += 1;
        heat.work_us += servers.service_time(choice.server, class).as_micros() as u64;
        if choice.outcome == Outcome::Moved {
            heat.moved += 1;
            if heat.moved >= OFTEN && heat.moved.saturating_mul(OFTEN_ONE_IN) >= heat.requests {
                (heat.requests, heat.moved, heat.often_moved) = (0, 0, true);
                self.grow(place, choice.server, servers);
            }
        }
        self.requests += 1;
        if self.requests >= self.window {
            self.review(table, servers);
        }
    }

    /// Adds `server`, which is not the class's already, unless all sets together are at their limit.
    fn grow(&mut self, place: usize, server: ServerId, servers: &ServerView<'_>) {
        if self.entries() < servers.iter().count() {
            self.heats[place].others.insert(server);
        }
    }

    /// Ends a window: each set changes by one server at most, then single classes may move.
    fn review(&mut self, table: &mut BindTable, servers: &ServerView<'_>) {
        let total_us: u64 = self.heats.iter().map(|heat| heat.work_us).sum();
        let server_count = servers.iter().count() as u64;
        for place in 0..self.heats.len() {
            let class = self.class(place);
            self.remove_ineligible(place, class, table, servers);
            let heat = self.heats[place];
            let size = 1 + heat.others.len() as u64;
            // Quarters of a server's fair share, times the total.
            let needed = heat.work_us * server_count * 4;
            if needed > total_us * (4 * size + 1) {
                self.grow_to_least_loaded(place, class, table, servers);
            } else if needed < total_us * (4 * size).saturating_sub(5) && !heat.often_moved {
                self.shrink(place, class, table, servers);
            }
        }
        self.even_out(table, servers);
        for heat in &mut self.heats {
            *heat = Heat { work_us: heat.work_us / 2, others: heat.others, ..Heat::default() };
        }
        self.requests = 0;
    }

    fn grow_to_least_loaded(
        &mut self,
        place: usize,
        class: ClassId,
        table: &BindTable,
        servers: &ServerView<'_>,
    ) {
        let Some(entry) = table.get(class) else { return };
        let others = self.heats[place].others;
        let new = servers.iter().filter(|server| server.id() != entry && !others.contains(server.id()));
        if let Some(server) = table.least_loaded(new) {
            self.grow(place, server.id(), servers);
        }
    }

    fn shrink(&mut self, place: usize, class: ClassId, table: &mut BindTable, servers: &ServerView<'_>) {
        let heat = &mut self.heats[place];
        let members = table.get(class).into_iter().chain(heat.others.iter());
        let most =
            members.filter_map(|id| servers.get(id)).max_by_key(|server| (server.load_us(), server.id()));
        if most.is_some_and(|server| !heat.others.remove(server.id())) {
            self.promote(place, class, table, servers);
        }
    }

    fn remove_ineligible(
        &mut self,
        place: usize,
        class: ClassId,
        table: &mut BindTable,
        servers: &ServerView<'_>,
    ) {
        let heat = &mut self.heats[place];
        for server in heat.others.iter().filter(|&server| servers.get(server).is_none()) {
            heat.others.remove(server);
        }
        if table.get(class).is_none_or(|entry| servers.get(entry).is_none()) {
            self.promote(place, class, table, servers);
        }
    }

    /// Makes the least loaded of the others the entry.
    fn promote(&mut self, place: usize, class: ClassId, table: &mut BindTable, servers: &ServerView<'_>) {
        let heat = &mut self.heats[place];
        let others = heat.others.iter().filter_map(|id| servers.get(id));
        if let Some(server) = table.least_loaded(others) {
            heat.others.remove(server.id());
            table.adopt(class, server.id());
        }
    }

    pub(super) fn class(&self, place: usize) -> ClassId {
        ClassId(self.base.0 + place as u16)
    }

    fn place(&self, class: ClassId) -> Option<usize> {
        class.index().checked_sub(self.base.index())
    }
}

//! `context` without classes: a target's home is found by weighted rendezvous hashing, and weights follow what servers can do.
//! Owns the weights, the departure from the home, and which hot targets get another home.
//!
//! A request goes to the server with the least distance by weight; a weight counts a thirty-second part less for each T_load
//! that its server holds more than the least busy. So it is always the same few targets, those near a border, that leave a busy
//! server for the same other one, and are soon cached there. As in Fig. 7 of the paper a request is moved when the server holds
//! T_load more than the least busy: to the second nearest server if that one holds half of this at most, else to the
//! least busy. That is also how a change is met before it is measured: each request moved takes a little weight from its home
//! to the least busy server, and a hot target is at home there from then on. A target above three tenths of a server's fair
//! share, as in a flash crowd, keeps its home but is moved for a quarter of T_load: it is worth its place in several memories.
//! Its demand counts where it is served, or its home would lose all others for what others do.
//!
//! At the end of a window of requests, the first of which are short, every weight moves so that the demands (expected service times, by home) become even. Where
//! some targets are hot, even demands leave their servers with few others, and with memory that is not used. So a few hot
//! targets move from the server of the least weight to that of the largest. A slow server thus gives its hot
//! targets away first and keeps, for its memory, many that are asked for seldom.
//!
//! Source: ours; weighted rendezvous hashing and the count of hot targets are cited in `rendezvous` and `hot_targets`.
//! State: a weight for each server and 64 hot targets, however many classes and targets there are. Choose it when targets are
//! many and servers cache or differ in speed: it never needs more, and comes as close to even as LARD/R does with a
//! table of all targets.

use std::time::Duration;

use dispatcher_common::choice::{Least, NO_SERVER, Nearest, ONE, level};
use rand::Rng;

use super::{
    Choice, Classified, Context, HotHome, InKernel, LoadThreshold, Outcome, Policy,
    hot_targets::{HotTarget, HotTargets},
};
use crate::{
    cluster::{Server, ServerView},
    ids::{ClassId, ServerId},
};

/// Least and largest weight.
const WEIGHTS: (u64, u64) = (ONE / 64, ONE * 64);

/// Requests for each server of the first window and of the longest; each has twice those of the one before.
const WINDOWS_PER_SERVER: (u32, u32) = (32, 512);

/// A weight moves by an eighth of what would make its server's demand even, and by a quarter of 1 at most.
const GAIN_ONE_IN: i64 = 8;
const MAX_STEP: i64 = ONE as i64 / 4;

/// What a request that is moved takes from the weight of its home.
const NUDGE: u64 = ONE / 1024;

/// A target with so much of a server's fair share may get another home.
const HOT_SHARE: u64 = ONE / 16;

/// One with so much may be in several memories.
const MANY_HOMES_SHARE: u64 = ONE * 3 / 10;

/// Most hot targets that move at the end of a window, and the gap between two weights for which none does.
const MOST_MOVES: u32 = 4;
const MIN_GAP: u64 = ONE / 10;

/// What is known of a server.
#[derive(Debug, Clone, Copy)]
struct Home {
    weight: u64,
    /// Expected service times of the requests whose home it is: of this window, half of the one before, and so on.
    demand_us: u64,
}

impl Default for Home {
    fn default() -> Self {
        Self { weight: ONE, demand_us: 0 }
    }
}

/// The context policy of one service with `table = "weighted"`.
#[derive(Debug, Clone)]
pub struct Weighted {
    homes: Vec<Home>,
    hot: HotTargets,
    threshold: LoadThreshold,
    /// Of this window.
    requests: u32,
    /// Those of which `hot` has the parts: of this window, half of the one before, and so on.
    counted: u64,
    window_per_server: u32,
}

impl Weighted {
    /// Begins with equal weights.
    #[must_use]
    pub fn new(threshold: LoadThreshold) -> Self {
        Self {
            homes: Vec::new(),
            hot: HotTargets::default(),
            threshold,
            requests: 0,
            counted: 0,
            window_per_server: WINDOWS_PER_SERVER.0,
        }
    }

    fn home(&self, server: ServerId) -> Home {
        self.homes.get(server.index()).copied().unwrap_or_default()
    }

    fn home_mut(&mut self, server: ServerId) -> &mut Home {
        if self.homes.len() <= server.index() {
            self.homes.resize(server.index() + 1, Home::default());
        }
        &mut self.homes[server.index()]
    }

    /// T_load in µs, above zero.
    #[must_use]
    pub fn t_load_us(&self, servers: &ServerView<'_>) -> u64 {
        (self.threshold.work(servers).as_micros() as u64).max(1)
    }

    /// The weight of `server`, where [`ONE`] is the mean.
    #[must_use]
    pub fn weight_of(&self, server: ServerId) -> u64 {
        self.home(server).weight
    }

    /// Targets with a given home or more than little demand: target, given home and [`level`] as the next request would find them.
    pub fn hot_targets(&self, server_count: usize) -> impl Iterator<Item = (u64, Option<ServerId>, u8)> {
        let server_count = server_count as u64;
        let all = (self.counted + 1).max(self.counted_at_least(server_count));
        self.hot.iter().filter_map(move |hot| {
            let share = parts(u64::from(hot.requests.saturating_add(1)) * server_count, all);
            let level = level_of(share);
            (level != level::COLD || hot.given.is_some()).then_some((hot.target(), hot.given, level))
        })
    }

    /// The nearest servers of a target, with its given home before all.
    fn nearest(&self, target: u64, servers: &ServerView<'_>, least_us: u64) -> Nearest {
        let given = self.hot.get(target).and_then(|hot| hot.given);
        let given = given.map_or(NO_SERVER, |given| given.0);
        let mut nearest = Nearest::new(target, given, self.t_load_us(servers));
        for server in servers.iter() {
            nearest.offer(server.id().0, self.weight_of(server.id()), server.load_us() - least_us);
        }
        nearest.settle();
        nearest
    }

    /// Counts the request, by whose home the weights will move, and gives its target's share of all requests.
    fn count(
        &mut self,
        request: Classified,
        home: ServerId,
        servers: &ServerView<'_>,
        rng: &mut dyn Rng,
    ) -> u64 {
        self.requests += 1;
        self.counted += 1;
        let server_count = servers.iter().count() as u64;
        let all = self.counted_at_least(server_count);
        let work_us = work_us(home, request.class, servers);
        let hot = self.hot.count(request.target_or_class(), request.class, rng);
        let share = hot.map_or(0, |hot| {
            (hot.class, hot.seen_at) = (request.class, Some(home));
            hot.work_us = hot.work_us.saturating_add(work_us);
            hot.share = parts(u64::from(hot.requests) * server_count, all);
            hot.share
        });
        let demand_us = &mut self.home_mut(home).demand_us;
        *demand_us = demand_us.saturating_add(work_us);
        if self.requests >= self.window_per_server.saturating_mul(server_count as u32) {
            self.review(servers);
        }
        share
    }

    /// As if two first windows had passed: nobody is hot before its fourth request.
    fn counted_at_least(&self, server_count: u64) -> u64 {
        self.counted.max(u64::from(WINDOWS_PER_SERVER.0) * 2 * server_count)
    }

    /// A request was moved because its server is too busy, and does its part so that later ones need not be.
    fn depart(
        &mut self,
        request: Classified,
        share: u64,
        [home, least, server]: [ServerId; 3],
        servers: &ServerView<'_>,
    ) {
        match share {
            MANY_HOMES_SHARE.. => self.count_elsewhere(request.class, home, server, servers),
            HOT_SHARE.. => self.hot.give(request.target_or_class(), server),
            _ => self.nudge(home, least),
        }
    }

    /// Counts the demand of a request where it is served instead of at its home.
    fn count_elsewhere(
        &mut self,
        class: ClassId,
        home: ServerId,
        server: ServerId,
        servers: &ServerView<'_>,
    ) {
        let [from_us, to_us] = [home, server].map(|id| work_us(id, class, servers));
        let demand_us = &mut self.home_mut(home).demand_us;
        *demand_us = demand_us.saturating_sub(from_us);
        let demand_us = &mut self.home_mut(server).demand_us;
        *demand_us = demand_us.saturating_add(to_us);
    }

    fn nudge(&mut self, from: ServerId, to: ServerId) {
        let part = NUDGE.min(self.home(from).weight - WEIGHTS.0).min(WEIGHTS.1 - self.home(to).weight);
        self.home_mut(from).weight -= part;
        self.home_mut(to).weight += part;
    }

    /// Ends a window.
    fn review(&mut self, servers: &ServerView<'_>) {
        let server_count = servers.iter().count() as u64;
        let total_us: u64 = servers.iter().map(|server| self.home(server.id()).demand_us).sum();
        let mean_us = (total_us / server_count.max(1)).max(1);
        let hot_us = self.note_shares(server_count);
        // What weights divide; never nothing, or they would jump.
        let cold = ONE.saturating_sub(parts(hot_us, total_us.max(1))).max(ONE / 10);
        for _ in 0..MOST_MOVES {
            if !self.move_hot(servers, mean_us, cold) {
                break;
            }
        }
        for server in servers.iter() {
            let home = self.home_mut(server.id());
            let off = parts(home.demand_us, mean_us) as i64 - ONE as i64;
            let step = off.saturating_mul(ONE as i64) / (cold as i64 * GAIN_ONE_IN);
            home.weight = home.weight.saturating_add_signed(-step.clamp(-MAX_STEP, MAX_STEP));
            home.weight = home.weight.max(WEIGHTS.0);
        }
        self.normalise(servers);
        self.homes.iter_mut().for_each(|home| home.demand_us /= 2);
        self.hot.forget_half();
        self.counted /= 2;
        self.requests = 0;
        self.window_per_server = (self.window_per_server * 2).min(WINDOWS_PER_SERVER.1);
    }

    /// Makes 1 the mean of the weights.
    fn normalise(&mut self, servers: &ServerView<'_>) {
        let weights = servers.iter().map(|server| self.home(server.id()).weight);
        let (count, sum) = weights.fold((0, 0), |(count, sum), weight| (count + 1, sum + weight));
        for server in servers.iter() {
            let weight = &mut self.home_mut(server.id()).weight;
            *weight = (*weight * ONE * count / sum).clamp(WEIGHTS.0, WEIGHTS.1);
        }
    }

    /// Notes how hot targets are, and gives the work of those that may move. One that becomes hot stays where it is from then on,
    /// or it would flip as soon as its own demand moves weights; one that has cooled down is hashed again.
    fn note_shares(&mut self, server_count: u64) -> u64 {
        let all = self.counted_at_least(server_count);
        for hot in self.hot.iter_mut() {
            hot.share = parts(u64::from(hot.requests) * server_count, all);
            match hot.share {
                HOT_SHARE.. => hot.given = hot.given.or(hot.seen_at),
                share if share < HOT_SHARE / 2 => hot.given = None,
                _ => {}
            }
        }
        self.hot.iter().filter(|hot| hot.share >= HOT_SHARE).map(|hot| hot.work_us).sum()
    }

    /// Moves a hot target from the server of the least weight to that of the largest: the one that comes nearest to closing the
    /// gap, or one that is alone too much for a slow server. Says whether there was one.
    fn move_hot(&mut self, servers: &ServerView<'_>, mean_us: u64, cold: u64) -> bool {
        let by_weight = |server: &&Server| (self.home(server.id()).weight, server.id());
        let ends = (servers.iter().min_by_key(by_weight), servers.iter().max_by_key(by_weight));
        let (Some(from), Some(to)) = ends else { return false };
        let (from, to) = (from.id(), to.id());
        let gap = self.home(to).weight - self.home(from).weight;
        if gap < MIN_GAP {
            return false;
        }
        let empty = self.home(from).weight < WEIGHTS.0 * 2;
        let times_us =
            |class| [from, to].map(|server| (servers.service_time(server, class).as_micros() as u64).max(1));
        // In weight: what of the others has to leave the new home for it.
        let size = |hot: &HotTarget| {
            let [old_us, new_us] = times_us(hot.class);
            let work_us = u128::from(hot.work_us) * u128::from(new_us) / u128::from(old_us);
            parts(u64::try_from(work_us).unwrap_or(u64::MAX), mean_us).saturating_mul(ONE) / cold
        };
        let fits = |hot: &&mut HotTarget| {
            let (size, [old_us, new_us]) = (size(hot), times_us(hot.class));
            let wins = size < gap / 10 * 9 || empty && old_us / 3 >= new_us / 2;
            hot.share >= HOT_SHARE && hot.given == Some(from) && size > gap / 64 && wins
        };
        let best = self.hot.iter_mut().filter(fits).min_by_key(|hot| size(hot).abs_diff(gap / 2));
        let Some(best) = best else { return false };
        best.given = Some(to);
        let size = size(best).min(gap);
        self.home_mut(from).weight += size;
        let new = self.home_mut(to);
        new.weight = new.weight.saturating_sub(size).max(WEIGHTS.0);
        true
    }
}

fn least_busy(servers: &ServerView<'_>) -> Least {
    let mut least = Least::default();
    servers.iter().for_each(|server| least.offer(server.id().0, server.load_us(), 0));
    least
}

fn work_us(server: ServerId, class: ClassId, servers: &ServerView<'_>) -> u64 {
    servers.service_time(server, class).as_micros() as u64
}

fn level_of(share: u64) -> u8 {
    match share {
        MANY_HOMES_SHARE.. => level::MANY_HOMES,
        HOT_SHARE.. => level::HOT,
        _ => level::COLD,
    }
}

/// `part` of `whole` as a part of [`ONE`].
fn parts(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * u128::from(ONE) / u128::from(whole.max(1))).unwrap_or(u64::MAX >> 16)
}

impl Policy for Weighted {
    fn name(&self) -> &'static str {
        Context::NAME
    }

    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Choice> {
        let least = least_busy(servers);
        let least_id = ServerId(least.server()?);
        let nearest = self.nearest(request.target_or_class(), servers, least.load_us);
        let home = ServerId(nearest.home());
        let share = self.count(request, home, servers, rng);
        let choice = Choice::of(nearest.decide(level_of(share), least_id.0)?);
        if choice.outcome == Outcome::Moved {
            self.depart(request, share, [home, least_id, choice.server], servers);
        }
        Some(choice)
    }

    fn observed(&mut self, request: Classified, choice: Choice, servers: &ServerView<'_>, rng: &mut dyn Rng) {
        let least = least_busy(servers);
        let Some(least_id) = least.server().map(ServerId) else { return };
        let home = ServerId(self.nearest(request.target_or_class(), servers, least.load_us).home());
        let share = self.count(request, home, servers, rng);
        if choice.outcome == Outcome::Moved {
            self.depart(request, share, [home, least_id, choice.server], servers);
        }
    }

    fn in_kernel(&self) -> InKernel<'_> {
        InKernel::Weighted(self)
    }

    fn weight(&self, server: ServerId) -> Option<f64> {
        Some(self.home(server).weight as f64 / ONE as f64)
    }

    fn hot_homes(&self) -> Vec<HotHome> {
        let placed = self.hot.iter().filter_map(|hot| {
            let server = hot.given?;
            Some(HotHome { target: hot.target(), server, share: hot.share as f64 / ONE as f64 })
        });
        let mut homes: Vec<_> = placed.collect();
        homes.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.target.cmp(&b.target)));
        homes
    }

    fn entries(&self) -> usize {
        self.homes.len() + self.hot.len()
    }
}

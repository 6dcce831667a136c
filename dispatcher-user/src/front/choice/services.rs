//! What the program goes by for each service: its candidates, the servers of its classes, its hot targets, service times.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use dispatcher_common::{
    choice::{
        Candidate, Candidates, ClassServers, HOT_BUCKETS, HOT_WAYS, HotHome, HotHomes, NO_SERVER,
        ServiceChoice, ServiceTimes, State, Turn, kind,
    },
    limits::{MAX_CLASSES, MAX_SERVERS, MAX_SERVICES},
};
use dispatcher_core::{
    cluster::{Cluster, Server, ServerView},
    ids::{ClassId, ServerId},
    policy::{InKernel, Policy, Weighted},
};

use super::{ChoiceMaps, words::Words};
use crate::kernel::mapped::MappedWords;

const fn words<T>() -> usize {
    size_of::<T>() / size_of::<u64>()
}

/// What holds for a service, beside its policy.
#[derive(Debug)]
pub struct Terms<'a> {
    pub servers: ServerView<'a>,
    /// The lowest load at which some priority is refused.
    pub load_bound: Option<Duration>,
    /// Until when this may be relied on, on the program's clock.
    pub valid_until_us: u64,
}

#[derive(Debug)]
pub(super) struct Services {
    pub(super) choices: Words,
    pub(super) candidates: Words,
    pub(super) class_servers: Words,
    pub(super) times: Words,
    hot_homes: Words,
    pub(super) turns: MappedWords,
}

impl Services {
    pub(super) fn map(maps: &ChoiceMaps) -> io::Result<Self> {
        let turns = MappedWords::map(maps.turns.as_fd(), MAX_SERVICES * words::<Turn>())?;
        Ok(Self::begin(Self {
            choices: Words::map(maps.services.as_fd(), MAX_SERVICES * words::<ServiceChoice>())?,
            candidates: Words::map(maps.candidates.as_fd(), 2 * MAX_SERVICES * words::<Candidates>())?,
            class_servers: Words::map(maps.class_servers.as_fd(), MAX_CLASSES * words::<ClassServers>())?,
            times: Words::map(maps.times.as_fd(), (MAX_SERVERS + 1) * words::<ServiceTimes>())?,
            hot_homes: Words::map(maps.hot_homes.as_fd(), MAX_SERVICES * words::<HotHomes>())?,
            turns,
        }))
    }

    pub(super) fn in_memory() -> Self {
        Self::begin(Self {
            choices: Words::in_memory(MAX_SERVICES * words::<ServiceChoice>()),
            candidates: Words::in_memory(2 * MAX_SERVICES * words::<Candidates>()),
            class_servers: Words::in_memory(MAX_CLASSES * words::<ClassServers>()),
            times: Words::in_memory((MAX_SERVERS + 1) * words::<ServiceTimes>()),
            hot_homes: Words::in_memory(MAX_SERVICES * words::<HotHomes>()),
            turns: MappedWords::in_memory(MAX_SERVICES * words::<Turn>()),
        })
    }

    fn begin(self) -> Self {
        (0..MAX_SERVICES).for_each(|owner| self.set_turn(owner, None));
        self
    }

    pub(super) fn publish(&mut self, owner: usize, policy: &dyn Policy, terms: &Terms<'_>) {
        let servers = &terms.servers;
        let (kind, t_load_us) = match policy.in_kernel() {
            InKernel::No => (kind::NONE, 1),
            InKernel::Bound(context) => (kind::BOUND, context.t_load_us(servers)),
            InKernel::Weighted(weighted) => (kind::WEIGHTED, weighted.t_load_us(servers)),
            InKernel::Hash => (kind::HASH, 1),
            InKernel::RoundRobin(_) => (kind::ROUND_ROBIN, 1),
            InKernel::Random => (kind::RANDOM, 1),
            InKernel::TwoChoices => (kind::TWO_CHOICES, 1),
        };
        let number = |server: &Server| number(policy, server.id());
        let candidates: Vec<_> = servers
            .iter()
            .take(MAX_SERVERS)
            .map(|server| Candidate { server: server.id().0, reserved: 0, number: number(server) })
            .collect();
        let half = self.write_candidates(owner, &candidates);
        if let InKernel::Weighted(weighted) = policy.in_kernel() {
            self.publish_hot_homes(owner, weighted, candidates.len());
        }
        let load_limit_us = terms.load_bound.map_or(u64::MAX, |bound| bound.as_micros() as u64 / 2);
        let choice = ServiceChoice {
            state: State { kind, half, count: candidates.len() as u16 }.word(),
            valid_until_us: terms.valid_until_us,
            t_load_us,
            load_limit_us,
            mean_us: servers.mean_service_time().as_micros() as u64,
            reserved: [0; 3],
        };
        // Whoever sees the state sees what it refers to.
        fence(Ordering::Release);
        for (at, word) in choice.words().into_iter().enumerate() {
            self.choices.set(owner * words::<ServiceChoice>() + at, word);
        }
    }

    /// Changes numbers in place; other candidates go to the half that is not in force. Gives the half that is to be.
    fn write_candidates(&mut self, owner: usize, candidates: &[Candidate]) -> u8 {
        let state = State::from_word(self.choices.get((owner + 1) * words::<ServiceChoice>() - 1));
        let start = |half: u8| (2 * owner + usize::from(half)) * words::<Candidates>();
        let old = (0..usize::from(state.count)).map(|at| self.candidates.get(start(state.half) + at));
        let same = old.map(server).eq(candidates.iter().map(|candidate| candidate.server));
        let half = if same { state.half } else { 1 - state.half };
        for (at, candidate) in candidates.iter().enumerate() {
            self.candidates.set(start(half) + at, candidate.word());
        }
        half
    }

    pub(super) fn publish_classes(&mut self, policy: &dyn Policy, classes: impl Iterator<Item = ClassId>) {
        let InKernel::Bound(context) = policy.in_kernel() else { return };
        for class in classes.filter(|class| class.index() < MAX_CLASSES) {
            for (at, word) in context.class_servers(class).0.into_iter().enumerate() {
                self.class_servers.set(class.index() * words::<ClassServers>() + at, word);
            }
        }
    }

    pub(super) fn publish_turn(&mut self, owner: usize, policy: &dyn Policy) {
        if let InKernel::RoundRobin(last) = policy.in_kernel() {
            self.set_turn(owner, last);
        }
    }

    fn set_turn(&self, owner: usize, last: Option<ServerId>) {
        self.turns.write(owner * words::<Turn>(), last.map_or(NO_SERVER, |last| last.0).into());
    }

    pub(super) fn publish_times(
        &mut self,
        cluster: &Cluster,
        server: ServerId,
        classes: impl Iterator<Item = ClassId>,
    ) {
        for class in classes.filter(|class| class.index() < MAX_CLASSES) {
            self.set_time(server.index(), class, cluster.measured_service_time(server, class));
            self.set_time(MAX_SERVERS, class, cluster.class_service_time(class));
        }
    }

    /// Two times share a word.
    fn set_time(&mut self, entry: usize, class: ClassId, time: Option<Duration>) {
        let time_us = time.map_or(0, |time| time.as_micros() as u32);
        let place = entry * words::<ServiceTimes>() + class.index() / 2;
        let mut pair = self.times.get(place).to_ne_bytes();
        pair[class.index() % 2 * 4..][..4].copy_from_slice(&time_us.to_ne_bytes());
        self.times.set(place, u64::from_ne_bytes(pair));
    }

    /// Targets stay where they are in their bucket, new ones take free places; what finds none is nothing special to the program.
    fn publish_hot_homes(&mut self, owner: usize, weighted: &Weighted, server_count: usize) {
        let mut fresh = [[HotHome::default(); HOT_WAYS]; HOT_BUCKETS];
        let start = owner * words::<HotHomes>();
        let homes: Vec<_> = weighted.hot_targets(server_count).map(hot_home).collect();
        let (old, new): (Vec<_>, Vec<_>) = homes.iter().partition(|home| self.way(start, home).is_some());
        for home in old {
            if let Some(way) = self.way(start, home) {
                fresh[HotHomes::bucket(home.target)][way] = *home;
            }
        }
        for home in new {
            let bucket = &mut fresh[HotHomes::bucket(home.target)];
            if let Some(free) = bucket.iter_mut().find(|home| home.is_used == 0) {
                *free = *home;
            }
        }
        for (at, home) in fresh.as_flattened().iter().enumerate() {
            self.write_hot_home(start + at * words::<HotHome>(), home);
        }
    }

    /// Where in its bucket a target is.
    fn way(&self, start: usize, home: &HotHome) -> Option<usize> {
        let bucket = start + HotHomes::bucket(home.target) * HOT_WAYS * words::<HotHome>();
        (0..HOT_WAYS).find(|way| {
            let [target, rest] = [0, 1].map(|at| self.hot_homes.get(bucket + way * words::<HotHome>() + at));
            target == home.target && rest != 0
        })
    }

    /// The program never sees one target's home under another target.
    fn write_hot_home(&mut self, place: usize, home: &HotHome) {
        let [target, rest] = home.words();
        if self.hot_homes.get(place) != target {
            self.hot_homes.set(place + 1, 0);
            fence(Ordering::Release);
            self.hot_homes.set(place, target);
            fence(Ordering::Release);
        }
        self.hot_homes.set(place + 1, rest);
    }
}

fn server(candidate: u64) -> u16 {
    Candidate::from_word(candidate).server
}

/// What the program is to know of a candidate.
fn number(policy: &dyn Policy, server: ServerId) -> u32 {
    match policy.in_kernel() {
        InKernel::Bound(context) => context.bound_classes(server),
        InKernel::Weighted(weighted) => weighted.weight_of(server) as u32,
        _ => 0,
    }
}

fn hot_home((target, given, level): (u64, Option<ServerId>, u8)) -> HotHome {
    let server = given.map_or(NO_SERVER, |given| given.0);
    HotHome { target, server, level, is_used: 1, reserved: 0 }
}

#[cfg(test)]
impl Services {
    pub(super) fn candidates_in_force(&self, owner: usize) -> Vec<u16> {
        let [.., state] = self.choices.mapped().read::<8>(owner);
        let state = State::from_word(state);
        let start = state.index(owner as u8) as usize * words::<Candidates>();
        let word = |at| self.candidates.mapped().read::<1>(start + at)[0];
        (0..usize::from(state.count)).map(|at| server(word(at))).collect()
    }

    /// Home and level of a target as the program finds them.
    pub(super) fn find_hot_home(&self, owner: usize, target: u64) -> Option<(u16, u8)> {
        let start = owner * words::<HotHomes>() + HotHomes::bucket(target) * HOT_WAYS * words::<HotHome>();
        let entry = start / words::<HotHome>();
        let found = (entry..entry + HOT_WAYS).map(|entry| self.hot_homes.mapped().read::<2>(entry));
        found.into_iter().find(|[known, rest]| *known == target && *rest != 0).map(|[_, rest]| {
            let [a, b, level, ..] = rest.to_ne_bytes();
            (u16::from_ne_bytes([a, b]), level)
        })
    }
}

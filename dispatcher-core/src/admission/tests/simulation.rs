//! A service at its limit for a minute: clients of all priorities come at random, and are admitted as the daemon does it, from
//! ready lists that are up to a tenth of a second old. Seeded; the seed is in every message.

use std::collections::BTreeMap;

use dispatcher_common::admission::{AdmissionEntry, Ruling};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::*;

const STEP_NS: u64 = 10_000_000;
const STEPS: u64 = 6000;

/// One flow and what its client will do.
#[derive(Debug, Clone, Copy)]
struct Flow {
    filter: Filter,
    response_ns: u64,
    last_ack_ns: u64,
    end_ns: u64,
}

/// What became of newcomers.
#[derive(Debug, Default)]
struct Tally {
    admitted: u64,
    in_place: u64,
    for_want: u64,
    refused: [u64; 8],
    most_open: u64,
}

struct Service {
    seed: u64,
    entry: AdmissionEntry,
    settings: AdmissionSettings,
    flows: BTreeMap<u32, Flow>,
    victims: Victims,
    budget: EvictionBudget,
    tally: Tally,
    rng: Pcg32,
    next: u32,
    now_ns: u64,
}

impl Service {
    fn new(seed: u64, limit: u32, eviction: EvictionSettings) -> Self {
        let limit = ConnectionLimit::Fixed(limit);
        let settings = AdmissionSettings { limit, eviction, ..AdmissionSettings::default() };
        let mut entry = settings.entry();
        entry.limit = Overload::new(&settings).limit(2);
        Self {
            seed,
            entry,
            budget: EvictionBudget::new(&settings.eviction),
            settings,
            flows: BTreeMap::new(),
            victims: Victims::default(),
            tally: Tally::default(),
            rng: Pcg32::seed_from_u64(seed),
            next: 0,
            now_ns: 1 << 40,
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            self.now_ns += STEP_NS;
            self.live();
            if step % 10 == 0 {
                self.sweep();
            }
            for _ in 0..self.rng.random_range(0..4) {
                let level = self.rng.random_range(0..8);
                self.arrive(level);
            }
            self.check();
        }
    }

    /// Clients get responses, acknowledge them, and leave.
    fn live(&mut self) {
        let now_ns = self.now_ns;
        for flow in self.flows.values_mut() {
            let filter = &mut flow.filter;
            if now_ns >= flow.response_ns && filter.response_ns == 0 {
                filter.response_ns = flow.response_ns;
            }
            if filter.response_ns != 0 && now_ns <= flow.last_ack_ns {
                (filter.last_seen_ns, filter.packets) = (now_ns, filter.packets + 1);
            }
        }
        let over = self.flows.extract_if(.., |_, flow| now_ns >= flow.end_ns);
        over.for_each(|(_, flow)| self.entry.open[usize::from(flow.filter.priority)] -= 1);
    }

    fn sweep(&mut self) {
        let AdmissionSettings { eviction, adjusting, .. } = &self.settings;
        let pressure = Pressure::default().with_connections(&self.entry);
        let mut collector = VictimCollector::new(eviction, adjusting, pressure);
        self.flows.iter().for_each(|(i, flow)| collector.offer(numbered(*i), &flow.filter, self.now_ns));
        self.victims = collector.finish();
    }

    fn arrive(&mut self, level: u8) {
        let lowest = self.flows.values().map(|flow| flow.filter.priority).min();
        match self.entry.judge(level) {
            Ruling::Admit => self.tally.admitted += 1,
            Ruling::Evict(than) => {
                assert_eq!(Some(than), lowest, "seed {}", self.seed);
                self.evict(level);
            }
            Ruling::Refuse => {
                assert!(lowest >= Some(level), "seed {}: {level} is refused above {lowest:?}", self.seed);
                self.tally.refused[usize::from(level)] += 1;
                return;
            }
        }
        self.open(level);
    }

    fn evict(&mut self, level: u8) {
        let now = Duration::from_nanos(self.now_ns);
        if self.budget.take(now, IpAddr::from([10, 0, 0, 1])).is_err() {
            self.tally.for_want += 1;
            return;
        }
        while let Some(victim) = self.victims.take(priority(level)) {
            let found = self.flows.iter().find(|(i, _)| numbered(**i) == victim.key);
            let Some((&i, flow)) = found.filter(|(_, flow)| victim.is_unchanged(&flow.filter)) else {
                continue;
            };
            let filter = flow.filter;
            assert!(filter.priority < level, "seed {}: {} gives way to {level}", self.seed, filter.priority);
            assert!(self.now_ns - filter.created_ns >= 250_000_000, "seed {}: too young", self.seed);
            let is_responding = filter.response_ns != 0 && self.now_ns - filter.last_seen_ns < SECOND_NS;
            assert!(!is_responding, "seed {}: in the middle of a response", self.seed);
            self.flows.remove(&i);
            self.entry.open[usize::from(filter.priority)] -= 1;
            self.tally.in_place += 1;
            return;
        }
        self.tally.for_want += 1;
    }

    fn open(&mut self, level: u8) {
        let mut after = |from_ns: u64, most_ms: u64| from_ns + self.rng.random_range(1..most_ms) * 1_000_000;
        let response_ns = after(self.now_ns, 1500);
        let last_ack_ns = after(response_ns, 1000);
        let end_ns = after(last_ack_ns, 4000);
        let filter = waiting(level, self.now_ns);
        self.flows.insert(self.next, Flow { filter, response_ns, last_ack_ns, end_ns });
        self.next += 1;
        self.entry.open[usize::from(level)] += 1;
        self.tally.most_open = self.tally.most_open.max(self.entry.total());
    }

    fn check(&self) {
        let mut open = [0; 8];
        self.flows.values().for_each(|flow| open[usize::from(flow.filter.priority)] += 1);
        assert_eq!(open, self.entry.open, "seed {}", self.seed);
        let most = self.entry.limit + self.tally.for_want;
        assert!(self.entry.total() <= most, "seed {}: {} of {most}", self.seed, self.entry.total());
    }
}

#[test]
fn at_the_limit_the_better_come_in_and_equals_never_evict_each_other() {
    for seed in 0..12 {
        let mut service = Service::new(seed, 150, EvictionSettings::default());
        service.run();
        let Tally { admitted, in_place, refused, .. } = &service.tally;
        println!("seed {seed}: {:?}", service.tally);
        assert!(*admitted > 100 && *in_place > 100, "seed {seed}: {:?}", service.tally);
        assert!(refused[0] > 100 && refused[0] > refused[2], "seed {seed}: {refused:?}");
        assert_eq!(refused[7], 0, "seed {seed}: {refused:?}");
    }
}

#[test]
fn a_service_of_equals_evicts_nobody() {
    for seed in 0..4 {
        let mut service = Service::new(seed, 50, EvictionSettings::default());
        for step in 0..STEPS {
            service.now_ns += STEP_NS;
            service.live();
            if step % 10 == 0 {
                service.sweep();
            }
            service.arrive(3);
            service.check();
        }
        assert_eq!((service.tally.in_place, service.tally.for_want), (0, 0), "seed {seed}");
        assert!(service.tally.refused[3] > 1000 && service.entry.total() <= 50, "seed {seed}");
    }
}

#[test]
fn evictions_stay_within_their_budget() {
    for seed in 0..4 {
        let eviction = EvictionSettings { per_second: 5, per_source: 4, ..EvictionSettings::default() };
        let mut service = Service::new(seed, 100, eviction);
        service.run();
        let seconds = STEPS * STEP_NS / SECOND_NS;
        assert!(service.tally.in_place <= 4 * (seconds + 1), "seed {seed}: {:?}", service.tally);
        assert!(service.tally.for_want > 0, "seed {seed}: {:?}", service.tally);
    }
}

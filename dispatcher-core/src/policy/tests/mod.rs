//! Tests of the policies through the code that the daemon runs. Owns the bench: a cluster and one policy, fed as the daemon
//! feeds them. Examples computed by hand are in a file for each kind of policy, what holds for all in `properties`.

mod balance;
mod context;
mod hashing;
mod lard;
mod prequal;
mod properties;
mod replicas;
mod weighted;

use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::*;
use crate::{
    cluster::{Accepted, Cluster},
    report::{ClassReport, Report},
};

const WALL_MS: u64 = 1_800_000_000_000;
const CLASSES: usize = 4;
const A: ClassId = ClassId(0);
const B: ClassId = ClassId(1);
const C: ClassId = ClassId(2);
const D: ClassId = ClassId(3);

/// Some servers and one policy.
struct Bench {
    cluster: Cluster,
    ids: Vec<ServerId>,
    policy: Box<dyn Policy>,
    rng: Pcg32,
    now: Duration,
    sequence: u64,
}

/// Settings of a policy that needs none.
fn named(name: &str) -> PolicySettings {
    PolicySettings { name: name.into(), ..PolicySettings::default() }
}

impl Bench {
    fn new(settings: &PolicySettings, server_count: u16) -> Self {
        let ids: Vec<_> = (0..server_count).map(ServerId).collect();
        let names = ids.iter().map(|id| format!("server{}", id.0));
        let mut cluster = Cluster::new(names, CLASSES, Duration::from_millis(100));
        ids.iter().for_each(|&id| cluster.set_mac_known(id, true));
        let policy = settings.build(A, CLASSES).unwrap();
        Self { cluster, ids, policy, rng: Pcg32::seed_from_u64(1), now: Duration::ZERO, sequence: 0 }
    }

    /// With every server idle and known to be so.
    fn idle(settings: &PolicySettings, server_count: u16) -> Self {
        let mut bench = Self::new(settings, server_count);
        (0..server_count).for_each(|id| bench.report(id, [0; 4], [10; 4]));
        bench
    }

    /// A report of server `id` that holds so many of each class, with given service times.
    fn report(&mut self, id: u16, held: [u32; 4], service_us: [u32; 4]) {
        self.sequence += 1;
        let classes =
            (0..4).map(|i| ClassReport { class: i as u16, held: held[i], service_us: service_us[i] });
        let report = Report {
            server: format!("server{id}"),
            boot_id: 1,
            sequence: self.sequence,
            sent_at_ms: WALL_MS,
            queue: held.iter().fold(0, |sum, &n| sum.saturating_add(n)),
            load_us: 0,
            accepted: 0,
            connections: 0,
            cpu_permille: 0,
            listen_overflows: 0,
            classes: classes.collect(),
        };
        // Own dispatches from before are over, as if a period had passed.
        self.now += Duration::from_millis(101);
        let Accepted { server, classes, .. } = self.cluster.accept(&report, self.now, WALL_MS).unwrap();
        self.policy.reported(server, &classes, &self.cluster.view(&self.ids));
    }

    /// Reports that the servers hold so many requests of class A, of 10 µs each.
    fn held(&mut self, requests: &[u32]) {
        (0..).zip(requests).for_each(|(id, &held)| self.report(id, [held, 0, 0, 0], [10; 4]));
    }

    fn drain(&mut self, id: u16, draining: bool) {
        self.cluster.set_draining(ServerId(id), draining);
    }

    /// A choice that does not count as a dispatch.
    fn peek(&mut self, class: ClassId, target: Option<u64>) -> Option<(u16, Outcome)> {
        let request = Classified { class, priority: Priority::HIGHEST, target };
        let view = self.cluster.view(&self.ids);
        let choice = self.policy.choose(request, &view, self.now, &mut self.rng);
        choice.map(|choice| (choice.server.0, choice.outcome))
    }

    fn choose(&mut self, class: ClassId) -> Option<(u16, Outcome)> {
        self.peek(class, None)
    }

    fn target(&mut self, target: u64) -> (u16, Outcome) {
        self.peek(A, Some(target)).unwrap()
    }

    /// Chooses and counts the dispatch.
    fn dispatch(&mut self, class: ClassId) -> (u16, Outcome) {
        let choice = self.choose(class).unwrap();
        self.cluster.dispatched(ServerId(choice.0), class, self.now);
        choice
    }

    /// The servers of the next choices, none of which counts as a dispatch.
    fn servers(&mut self, choices: usize) -> Vec<u16> {
        (0..choices).map(|_| self.choose(A).unwrap().0).collect()
    }

    fn bound(&self) -> [Option<u16>; 4] {
        [A, B, C, D].map(|class| self.policy.bound_server(class).map(|id| id.0))
    }
}

//! When a service is overloaded: by load, CPU and listeners, with hysteresis; and that it does not flap at the edge.

use dispatcher_common::admission::AdmissionEntry;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::*;
use crate::{
    cluster::Cluster,
    ids::ServerId,
    policy::LoadThreshold,
    report::{ClassReport, Report},
};

const WALL_MS: u64 = 1_800_000_000_000;

/// What one server reports next; requests of 1 ms each.
#[derive(Debug, Clone, Copy)]
struct Signs {
    held: u32,
    cpu_permille: u16,
    listen_overflows: u64,
    boot_id: u64,
}

const QUIET: Signs = Signs { held: 0, cpu_permille: 0, listen_overflows: 0, boot_id: 1 };

/// Some servers and the overload of their service.
struct Bench {
    cluster: Cluster,
    ids: Vec<ServerId>,
    overload: Overload,
    now: Duration,
    sequence: u64,
}

impl Bench {
    fn new(settings: &AdmissionSettings, servers: u16) -> Self {
        let ids: Vec<_> = (0..servers).map(ServerId).collect();
        let names = ids.iter().map(|id| format!("server{}", id.0));
        let mut cluster = Cluster::new(names, 1, Duration::from_millis(100));
        ids.iter().for_each(|&id| cluster.set_mac_known(id, true));
        Self { cluster, ids, overload: Overload::new(settings), now: Duration::ZERO, sequence: 0 }
    }

    fn report(&mut self, server: usize, signs: Signs) {
        self.sequence += 1;
        let report = Report {
            server: format!("server{server}"),
            boot_id: signs.boot_id,
            sequence: self.sequence,
            sent_at_ms: WALL_MS,
            queue: signs.held,
            load_us: 0,
            accepted: 0,
            connections: 0,
            cpu_permille: signs.cpu_permille,
            listen_overflows: signs.listen_overflows,
            classes: vec![ClassReport { class: 0, held: signs.held, service_us: 1000 }],
        };
        self.cluster.accept(&report, self.now, WALL_MS).unwrap();
    }

    /// All servers report, then the service is looked at.
    fn causes(&mut self, signs: &[Signs]) -> Causes {
        (0..).zip(signs).for_each(|(server, signs)| self.report(server, *signs));
        self.look()
    }

    fn look(&mut self) -> Causes {
        let pressure = self.overload.observe(&self.cluster.view(&self.ids), self.now);
        let Causes { connections, load, cpu, listen_overflows } = pressure.causes;
        assert_eq!(pressure.overloaded, connections || load || cpu || listen_overflows);
        assert_eq!(load, pressure.closed_below > 0);
        pressure.causes
    }

    fn closed_below(&mut self, held: [u32; 2]) -> u8 {
        self.held(held);
        self.overload.observe(&self.cluster.view(&self.ids), self.now).closed_below
    }

    fn held(&mut self, held: [u32; 2]) -> bool {
        self.causes(&held.map(|held| Signs { held, ..QUIET })).load
    }
}

/// One bound for all priorities.
fn bounded(load_bound: LoadThreshold) -> AdmissionSettings {
    let load_bound = Some(load_bound);
    AdmissionSettings { load_bound, load_reserve_percent: 0, ..AdmissionSettings::default() }
}

#[test]
fn load_counts_when_every_server_is_above_until_one_is_well_below() {
    for bound in [LoadThreshold::Requests(100), LoadThreshold::Work(Duration::from_millis(100))] {
        let mut bench = Bench::new(&bounded(bound), 2);
        for (held, expected) in [
            ([100, 500], false),
            ([101, 500], true),
            ([101, 101], true),
            ([100, 80], true),
            ([500, 79], false),
            ([500, 100], false),
            ([101, 101], true),
            ([0, 500], false),
        ] {
            assert_eq!(bench.held(held), expected, "{held:?} of {bound:?}");
        }
    }
}

#[test]
fn load_closes_the_door_to_low_priorities_first_and_opens_it_to_high_ones_first() {
    let settings = AdmissionSettings {
        load_bound: Some(LoadThreshold::Work(Duration::from_millis(140))),
        ..AdmissionSettings::default()
    };
    let mut bench = Bench::new(&settings, 2);
    // Bounds are 70, 80, … 140 ms; each ends a fifth below.
    for (held, expected) in [
        (70, 0),
        (71, 1),
        (101, 4),
        (140, 7),
        (141, 8),
        (112, 8),
        (111, 7),
        (104, 7),
        (103, 6),
        (56, 1),
        (55, 0),
        (500, 8),
        (0, 0),
    ] {
        assert_eq!(bench.closed_below([held, 500]), expected, "{held} ms");
    }
}

#[test]
fn load_closes_the_gate_to_all_but_the_highest_while_others_are_there() {
    let of = |closed_below, open| {
        gate(&AdmissionEntry { closed_below, open, limit: u64::MAX, ..AdmissionEntry::default() })
    };
    let three = [0, 9, 0, 0, 9, 0, 0, 9];
    for (closed_below, expected) in [(0, 0), (1, 1), (2, 2), (5, 5), (7, 7), (8, 7)] {
        assert_eq!(of(closed_below, three), expected);
    }
    assert_eq!(of(8, [0, 0, 0, 9, 0, 0, 0, 0]), 8, "equals only: the servers have work enough");
    assert_eq!(of(3, [0; 8]), 0);
}

#[test]
fn a_service_without_eligible_servers_is_not_overloaded() {
    let mut bench = Bench::new(&bounded(LoadThreshold::Requests(1)), 2);
    assert_eq!(bench.look(), Causes::default());
    assert!(bench.held([500, 500]));
    bench.ids.iter().for_each(|&id| bench.cluster.set_draining(id, true));
    assert_eq!(bench.look(), Causes::default());
    bench.cluster.set_draining(ServerId(0), false);
    assert!(bench.look().load, "what is not eligible has no say");
}

#[test]
fn cpu_counts_when_every_server_is_busy_and_for_a_while_after() {
    let settings = AdmissionSettings { cpu_percent: Some(90), ..AdmissionSettings::default() };
    let mut bench = Bench::new(&settings, 2);
    for (at_ms, cpu_permille, expected) in [
        (0, [900, 899], false),
        (100, [900, 1000], true),
        (200, [0, 1000], true),
        (1099, [0, 1000], true),
        (1100, [720, 1000], true),
        (1101, [719, 1000], false),
        (1200, [899, 1000], false),
        (1300, [900, 1000], true),
        (2000, [900, 1000], true),
        (2999, [0, 0], true),
        (3000, [0, 0], false),
    ] {
        bench.now = Duration::from_millis(at_ms);
        let signs = cpu_permille.map(|cpu_permille| Signs { cpu_permille, ..QUIET });
        assert_eq!(bench.causes(&signs).cpu, expected, "at {at_ms} ms");
    }
}

#[test]
fn overflows_count_when_every_server_has_them_within_the_hold() {
    let mut bench = Bench::new(&AdmissionSettings::default(), 2);
    for (at_ms, counts, boot_id, expected) in [
        (0, [1000, 5], 1, false),
        (100, [1001, 5], 1, false),
        (1000, [1001, 6], 1, true),
        (1099, [1001, 6], 1, true),
        (1100, [1001, 9], 1, false),
        (1200, [2000, 9], 1, true),
        (1300, [3, 4], 2, false),
        (1400, [4, 4], 2, false),
        (1500, [4, 5], 2, true),
    ] {
        bench.now = Duration::from_millis(at_ms);
        let signs = counts.map(|listen_overflows| Signs { listen_overflows, boot_id, ..QUIET });
        assert_eq!(bench.causes(&signs).listen_overflows, expected, "at {at_ms} ms");
    }
    let deaf = AdmissionSettings { listen_overflows: false, ..AdmissionSettings::default() };
    let mut bench = Bench::new(&deaf, 1);
    bench.causes(&[QUIET]);
    assert!(!bench.causes(&[Signs { listen_overflows: 1, ..QUIET }]).listen_overflows);
}

#[test]
fn connections_at_their_limit_are_a_cause_too() {
    let mut entry = AdmissionSettings::default().entry();
    entry.open[3] = 5;
    entry.overloaded = 1;
    assert!(!Pressure::default().with_connections(&entry).overloaded);
    entry.limit = 5;
    let pressure = Pressure::default().with_connections(&entry);
    assert!(pressure.overloaded && pressure.causes.connections && !pressure.causes.load);
    entry.limit = 6;
    assert!(!pressure.with_connections(&entry).overloaded);
}

#[test]
fn a_load_that_trembles_within_the_hysteresis_never_ends_an_overload() {
    for seed in 0..20 {
        let mut rng = Pcg32::seed_from_u64(seed);
        let mut bench = Bench::new(&bounded(LoadThreshold::Work(Duration::from_millis(100))), 2);
        let looks: Vec<_> =
            (0..500).map(|_| bench.held([0; 2].map(|_: u32| rng.random_range(80..121)))).collect();
        let first = looks.iter().position(|overloaded| *overloaded).unwrap();
        assert!(looks[first..].iter().all(|overloaded| *overloaded), "seed {seed}");
    }
}

#[test]
fn a_load_at_the_edge_flaps_no_more_than_it_moves_through_the_whole_hysteresis() {
    for seed in 0..20 {
        let mut rng = Pcg32::seed_from_u64(seed);
        let mut bench = Bench::new(&bounded(LoadThreshold::Work(Duration::from_millis(100))), 2);
        let (mut held, mut was_overloaded) = ([90_u32; 2], false);
        let (mut changes, mut travelled) = (0_u32, 0_u32);
        for _ in 0..5000 {
            let before = held.into_iter().min().unwrap();
            held = held.map(|held| (held + rng.random_range(0..=6)).saturating_sub(3).clamp(60, 130));
            let least = held.into_iter().min().unwrap();
            let overloaded = bench.held(held);
            travelled += before.abs_diff(least);
            if overloaded != was_overloaded {
                changes += 1;
                assert!(if overloaded { least > 100 } else { least < 80 }, "seed {seed}: {held:?}");
            }
            was_overloaded = overloaded;
        }
        assert!(changes > 2 && changes * 20 <= travelled + 20, "seed {seed}: {changes} in {travelled}");
    }
}

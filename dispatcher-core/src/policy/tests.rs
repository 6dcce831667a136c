//! Tests of the policies: the paper's Table 5 and Fig. 7 through the code that the daemon runs, tie rules, both kinds
//! of table, and that no load whatever makes a policy choose an ineligible server.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::*;
use crate::{
    cluster::{Accepted, Cluster},
    report::{ClassReport, Report},
};

const WALL_MS: u64 = 1_800_000_000_000;
const IDS: [ServerId; 3] = [ServerId(0), ServerId(1), ServerId(2)];
const A: ClassId = ClassId(0);
const B: ClassId = ClassId(1);
const C: ClassId = ClassId(2);
const D: ClassId = ClassId(3);

/// Three servers and one policy, fed as the daemon feeds them.
struct Bench {
    cluster: Cluster,
    policy: Box<dyn Policy>,
    sequence: u64,
}

impl Bench {
    fn new(name: &str, table: TableKind, load_threshold: LoadThreshold) -> Self {
        let names = (1..=3).map(|i| format!("server{i}"));
        let mut cluster = Cluster::new(names, 4, Duration::from_millis(100));
        IDS.iter().for_each(|&id| cluster.set_mac_known(id, true));
        let settings = PolicySettings { name: name.into(), table, load_threshold };
        Self { cluster, policy: settings.build(A, 4).unwrap(), sequence: 0 }
    }

    fn context(table: TableKind) -> Self {
        Self::new(Context::NAME, table, LoadThreshold::Work(Duration::from_micros(10)))
    }

    /// A report of server `id` that holds so many of each class, with given service times.
    fn report(&mut self, id: ServerId, held: [u32; 4], service_us: [u32; 4]) {
        self.sequence += 1;
        let classes =
            (0..4).map(|i| ClassReport { class: i as u16, held: held[i], service_us: service_us[i] });
        let report = Report {
            server: format!("server{}", id.0 + 1),
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
        let Accepted { server, classes, .. } = self.cluster.accept(&report, Duration::ZERO, WALL_MS).unwrap();
        self.policy.reported(server, &classes, &self.cluster.view(&IDS));
    }

    /// The example of Table 5.
    fn table_5(&mut self) {
        let service_us = [5, 10, 12, 15];
        self.report(ServerId(0), [1, 1, 0, 0], service_us);
        self.report(ServerId(1), [2, 0, 1, 0], service_us);
        self.report(ServerId(2), [1, 0, 1, 0], service_us);
    }

    fn choose(&mut self, class: ClassId) -> Option<(u16, Outcome)> {
        let request = Classified { class, priority: Priority::HIGHEST, target: None };
        let mut rng = Pcg32::seed_from_u64(1);
        let choice = self.policy.choose(request, &self.cluster.view(&IDS), Duration::ZERO, &mut rng);
        choice.map(|choice| (choice.server.0, choice.outcome))
    }

    fn bound(&self) -> [Option<u16>; 4] {
        [A, B, C, D].map(|class| self.policy.bound_server(class).map(|id| id.0))
    }

    fn loads_us(&self) -> [u128; 3] {
        IDS.map(|id| self.cluster.server(id).unwrap().load().as_micros())
    }
}

#[test]
fn table_5_gives_the_bind_table_of_equation_2() {
    for table in [TableKind::Faithful, TableKind::Sticky] {
        let mut bench = Bench::context(table);
        assert_eq!(bench.bound(), [None; 4]);
        bench.table_5();
        assert_eq!(bench.loads_us(), [15, 22, 17]);
        // A→2, B→1, C→3 (Table 6 misprints 2), D→NULL, counting servers from one.
        assert_eq!(bench.bound(), [Some(1), Some(0), Some(2), None]);
    }
}

#[test]
fn figure_7_departs_from_the_table_only_above_t_load() {
    for (threshold_us, expected) in [(8, (1, Outcome::Hit)), (7, (1, Outcome::Hit)), (6, (0, Outcome::Moved))]
    {
        let threshold = LoadThreshold::Work(Duration::from_micros(threshold_us));
        let mut bench = Bench::new(Context::NAME, TableKind::Faithful, threshold);
        bench.table_5();
        assert_eq!(bench.choose(A), Some(expected), "T_2 - min T = 7, T_load = {threshold_us}");
        assert_eq!(bench.choose(D), Some((0, Outcome::Unbound)), "NULL goes to the least T");
        assert_eq!(bench.choose(B), Some((0, Outcome::Hit)));
    }
}

#[test]
fn a_threshold_in_requests_follows_the_mean_service_time() {
    let mut bench = Bench::new(Context::NAME, TableKind::Sticky, LoadThreshold::Requests(48));
    bench.report(ServerId(0), [49, 0, 0, 0], [100, 0, 0, 0]);
    bench.report(ServerId(1), [0; 4], [100, 0, 0, 0]);
    bench.report(ServerId(2), [1, 1, 0, 0], [100, 100, 0, 0]);
    assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    bench.report(ServerId(0), [48, 0, 0, 0], [100, 0, 0, 0]);
    assert_eq!(bench.choose(A), Some((0, Outcome::Hit)));
}

#[test]
fn equal_shares_go_to_the_lower_load_then_to_the_lower_id() {
    let mut bench = Bench::context(TableKind::Faithful);
    bench.report(ServerId(0), [2, 2, 0, 0], [10; 4]);
    bench.report(ServerId(1), [1, 1, 0, 0], [10; 4]);
    bench.report(ServerId(2), [1, 1, 0, 0], [10; 4]);
    assert_eq!(bench.bound(), [Some(1), Some(1), None, None]);
}

#[test]
fn a_class_that_nobody_holds_is_forgotten_only_by_the_faithful_table() {
    for (table, expected) in [(TableKind::Faithful, None), (TableKind::Sticky, Some(0))] {
        let mut bench = Bench::context(table);
        bench.report(ServerId(0), [1, 0, 0, 0], [1; 4]);
        assert_eq!(bench.bound()[0], Some(0));
        bench.report(ServerId(0), [0; 4], [1; 4]);
        assert_eq!(bench.bound()[0], expected);
    }
}

#[test]
fn on_an_idle_cluster_sticky_classes_spread_over_the_servers() {
    let mut bench = Bench::context(TableKind::Sticky);
    IDS.iter().for_each(|&id| bench.report(id, [0; 4], [1; 4]));
    let first: Vec<_> = [A, B, C, D].into_iter().map(|class| bench.choose(class)).collect();
    assert_eq!(first, [0, 1, 2, 0].map(|server| Some((server, Outcome::Unbound))));
    assert_eq!(bench.choose(B), Some((1, Outcome::Hit)));
}

#[test]
fn a_class_whose_server_is_gone_follows_the_reports_of_the_others() {
    for (table, after) in [(TableKind::Faithful, Outcome::Unbound), (TableKind::Sticky, Outcome::Hit)] {
        let mut bench = Bench::context(table);
        bench.table_5();
        bench.cluster.set_draining(ServerId(1), true);
        assert_eq!(bench.choose(A), Some((0, Outcome::Hit)), "1/2 at servers 1 and 3, and T_1 < T_3");
        bench.cluster.set_draining(ServerId(0), true);
        assert_eq!(bench.choose(B), Some((2, Outcome::Unbound)));
        assert_eq!(bench.choose(B), Some((2, after)));
        bench.cluster.set_draining(ServerId(2), true);
        assert_eq!(bench.choose(A), None);
    }
}

#[test]
fn slow_server_loses_its_class_and_gets_it_back() {
    let mut bench = Bench::context(TableKind::Sticky);
    IDS.iter().for_each(|&id| bench.report(id, [0; 4], [1; 4]));
    assert_eq!(bench.choose(A), Some((0, Outcome::Unbound)));
    bench.report(ServerId(0), [11, 0, 0, 0], [1; 4]);
    assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    bench.report(ServerId(0), [2, 0, 0, 0], [1; 4]);
    assert_eq!(bench.choose(A), Some((0, Outcome::Hit)));
}

#[test]
fn round_robin_goes_round_and_skips_who_is_out() {
    let mut bench = Bench::new(RoundRobin::NAME, TableKind::Sticky, LoadThreshold::default());
    assert_eq!(bench.choose(A), None);
    IDS.iter().for_each(|&id| bench.report(id, [0; 4], [1; 4]));
    let order: Vec<_> = (0..4).map(|_| bench.choose(A).unwrap().0).collect();
    assert_eq!(order, [0, 1, 2, 0]);
    bench.cluster.set_draining(ServerId(1), true);
    let order: Vec<_> = (0..3).map(|_| bench.choose(A).unwrap().0).collect();
    assert_eq!(order, [2, 0, 2]);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let settings = PolicySettings { name: "wrr".into(), ..PolicySettings::default() };
    let error = settings.build(A, 1).unwrap_err().to_string();
    assert_eq!(error, r#"unknown policy "wrr"; use one of: context, round-robin"#);
}

proptest! {
    #[test]
    fn no_load_makes_a_policy_choose_an_ineligible_server(
        name in prop::sample::select(NAMES), faithful: bool, threshold: u32,
        steps in prop::collection::vec((0_u16..3, any::<[u32; 4]>(), any::<[u32; 4]>(), 0_u16..6, any::<u8>()), 1..40),
    ) {
        let table = if faithful { TableKind::Faithful } else { TableKind::Sticky };
        let mut bench = Bench::new(name, table, LoadThreshold::Requests(threshold));
        for (id, held, service_us, class, bits) in steps {
            bench.report(ServerId(id), held, service_us);
            for id in IDS {
                bench.cluster.set_draining(id, bits >> id.0 & 1 != 0);
                bench.cluster.set_mac_known(id, bits >> (id.0 + 3) & 1 != 0);
            }
            let eligible: Vec<_> = bench.cluster.view(&IDS).iter().map(|server| server.id().0).collect();
            match bench.choose(ClassId(class)) {
                Some((server, _)) => {
                    prop_assert!(eligible.contains(&server));
                    bench.cluster.dispatched(ServerId(server), ClassId(class), Duration::ZERO);
                }
                None => prop_assert!(eligible.is_empty()),
            }
        }
    }
}

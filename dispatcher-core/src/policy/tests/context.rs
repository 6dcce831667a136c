//! The context policy: the paper's Table 5 and Fig. 7, tie rules, and what tells a faithful table from a sticky one.

use super::*;

fn context(table: TableKind, load_threshold: LoadThreshold) -> Bench {
    Bench::new(
        &PolicySettings { table, load_threshold: Some(load_threshold), ..PolicySettings::default() },
        3,
    )
}

/// T_load is 10 µs.
fn bench(table: TableKind) -> Bench {
    context(table, LoadThreshold::Work(Duration::from_micros(10)))
}

/// The example of Table 5.
fn table_5(bench: &mut Bench) {
    let service_us = [5, 10, 12, 15];
    bench.report(0, [1, 1, 0, 0], service_us);
    bench.report(1, [2, 0, 1, 0], service_us);
    bench.report(2, [1, 0, 1, 0], service_us);
}

#[test]
fn table_5_gives_the_bind_table_of_equation_2() {
    for table in [TableKind::Faithful, TableKind::Sticky] {
        let mut bench = bench(table);
        assert_eq!(bench.bound(), [None; 4]);
        table_5(&mut bench);
        let loads_us = bench.cluster.servers().iter().map(|server| server.load().as_micros());
        assert_eq!(loads_us.collect::<Vec<_>>(), [15, 22, 17]);
        // A→2, B→1, C→3 (Table 6 misprints 2), D→NULL, counting servers from one.
        assert_eq!(bench.bound(), [Some(1), Some(0), Some(2), None]);
    }
}

#[test]
fn figure_7_departs_from_the_table_only_above_t_load() {
    for (threshold_us, expected) in [(8, (1, Outcome::Hit)), (7, (1, Outcome::Hit)), (6, (0, Outcome::Moved))]
    {
        let threshold = LoadThreshold::Work(Duration::from_micros(threshold_us));
        let mut bench = context(TableKind::Faithful, threshold);
        table_5(&mut bench);
        assert_eq!(bench.choose(A), Some(expected), "T_2 - min T = 7, T_load = {threshold_us}");
        assert_eq!(bench.choose(D), Some((0, Outcome::Unbound)), "NULL goes to the least T");
        assert_eq!(bench.choose(B), Some((0, Outcome::Hit)));
    }
}

#[test]
fn a_threshold_in_requests_follows_the_mean_service_time() {
    let mut bench = context(TableKind::Sticky, LoadThreshold::Requests(48));
    bench.report(0, [49, 0, 0, 0], [100, 0, 0, 0]);
    bench.report(1, [0; 4], [100, 0, 0, 0]);
    bench.report(2, [1, 1, 0, 0], [100, 100, 0, 0]);
    assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    bench.report(0, [48, 0, 0, 0], [100, 0, 0, 0]);
    assert_eq!(bench.choose(A), Some((0, Outcome::Hit)));
}

#[test]
fn equal_shares_go_to_the_lower_load_then_to_the_lower_id() {
    let mut bench = bench(TableKind::Faithful);
    bench.report(0, [2, 2, 0, 0], [10; 4]);
    bench.report(1, [1, 1, 0, 0], [10; 4]);
    bench.report(2, [1, 1, 0, 0], [10; 4]);
    assert_eq!(bench.bound(), [Some(1), Some(1), None, None]);
}

#[test]
fn a_class_that_nobody_holds_is_forgotten_only_by_the_faithful_table() {
    for (table, expected) in [(TableKind::Faithful, None), (TableKind::Sticky, Some(0))] {
        let mut bench = bench(table);
        bench.report(0, [1, 0, 0, 0], [1; 4]);
        assert_eq!(bench.bound()[0], Some(0));
        bench.report(0, [0; 4], [1; 4]);
        assert_eq!(bench.bound()[0], expected);
    }
}

#[test]
fn on_an_idle_cluster_sticky_classes_spread_over_the_servers() {
    let mut bench = bench(TableKind::Sticky);
    (0..3).for_each(|id| bench.report(id, [0; 4], [1; 4]));
    let first: Vec<_> = [A, B, C, D].into_iter().map(|class| bench.choose(class)).collect();
    assert_eq!(first, [0, 1, 2, 0].map(|server| Some((server, Outcome::Unbound))));
    assert_eq!(bench.choose(B), Some((1, Outcome::Hit)));
}

#[test]
fn a_class_whose_server_is_gone_follows_the_reports_of_the_others() {
    for (table, after) in [(TableKind::Faithful, Outcome::Unbound), (TableKind::Sticky, Outcome::Hit)] {
        let mut bench = bench(table);
        table_5(&mut bench);
        bench.drain(1, true);
        assert_eq!(bench.choose(A), Some((0, Outcome::Hit)), "1/2 at servers 1 and 3, and T_1 < T_3");
        bench.drain(0, true);
        assert_eq!(bench.choose(B), Some((2, Outcome::Unbound)));
        assert_eq!(bench.choose(B), Some((2, after)));
        bench.drain(2, true);
        assert_eq!(bench.choose(A), None);
    }
}

#[test]
fn slow_server_loses_its_class_and_gets_it_back() {
    let mut bench = bench(TableKind::Sticky);
    (0..3).for_each(|id| bench.report(id, [0; 4], [1; 4]));
    assert_eq!(bench.choose(A), Some((0, Outcome::Unbound)));
    bench.report(0, [11, 0, 0, 0], [1; 4]);
    assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    bench.report(0, [2, 0, 0, 0], [1; 4]);
    assert_eq!(bench.choose(A), Some((0, Outcome::Hit)));
}

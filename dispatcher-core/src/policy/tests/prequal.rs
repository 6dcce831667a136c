//! Prequal: quantile, hot-cold rule and pool, by hand.

use super::*;

fn prequal(rif_quantile_percent: u8, pool: u16, server_count: u16) -> Bench {
    let prequal = PrequalSettings { rif_quantile_percent, pool };
    Bench::new(&PolicySettings { prequal, ..named(Prequal::NAME) }, server_count)
}

#[test]
fn of_the_cold_servers_the_one_with_the_lowest_latency_is_taken() {
    let mut bench = prequal(84, 16, 4);
    // Four reports: the quantile's rank is ⌈0.84 · 4⌉ = 4, so the limit is 6 and all are cold.
    // Latency of one more request of A: (6+1)·10, (1+1)·90, (2+1)·20 and (5+1)·15 µs.
    for (id, held, service_us) in [(0, 6, 10), (1, 1, 90), (2, 2, 20), (3, 5, 15)] {
        bench.report(id, [held, 0, 0, 0], [service_us; 4]);
    }
    assert_eq!(bench.choose(A), Some((2, Outcome::Unbound)));
    // Own dispatches count at once: 80 µs after one, more than the 70 of server 0.
    bench.dispatch(A);
    assert_eq!(bench.choose(A).unwrap().0, 0);
}

#[test]
fn a_hot_server_is_avoided_though_its_latency_is_the_lowest() {
    // The rank is ⌈0.5 · 4⌉ = 2 in 1, 2, 5, 6: above 2 is hot. Latencies are 7, 6000, 3000, 6 µs.
    let mut bench = prequal(50, 16, 4);
    for (id, held, service_us) in [(0, 6, 1), (1, 1, 3000), (2, 2, 1000), (3, 5, 1)] {
        bench.report(id, [held, 0, 0, 0], [service_us; 4]);
    }
    assert_eq!(bench.choose(A).unwrap().0, 2);
    bench.drain(2, true);
    assert_eq!(bench.choose(A).unwrap().0, 1);
}

#[test]
fn when_all_are_hot_the_one_that_holds_the_fewest_is_taken() {
    let mut bench = prequal(1, 16, 3);
    bench.held(&[1, 1, 1]);
    // Now everybody holds more than the lowest hundredth of the reports, which is 1.
    bench.report(0, [4, 0, 0, 0], [1; 4]);
    bench.report(1, [2, 0, 0, 0], [9000; 4]);
    bench.report(2, [3, 0, 0, 0], [1; 4]);
    assert_eq!(bench.choose(A).unwrap().0, 1);
}

#[test]
fn the_server_that_reported_longest_ago_leaves_a_full_pool() {
    let mut bench = prequal(84, 2, 3);
    bench.held(&[0, 5, 9]);
    assert_eq!(bench.choose(A).unwrap().0, 1, "server 0 has left");
    bench.report(0, [0; 4], [10; 4]);
    assert_eq!(bench.choose(A).unwrap().0, 0);
}

#[test]
fn with_fewer_than_two_reports_any_server_is_taken() {
    let mut bench = prequal(84, 2, 3);
    bench.held(&[9, 0, 0]);
    bench.drain(2, true);
    let servers = bench.servers(20);
    assert!(servers.contains(&0) && servers.contains(&1), "{servers:?}");
}

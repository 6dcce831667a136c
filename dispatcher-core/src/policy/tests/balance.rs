//! Policies that know nothing of content: round robin, weighted round robin, random, two choices, join-idle-queue.

use super::*;

#[test]
fn round_robin_goes_round_and_skips_who_is_out() {
    let mut bench = Bench::new(&named(RoundRobin::NAME), 3);
    assert_eq!(bench.choose(A), None);
    (0..3).for_each(|id| bench.report(id, [0; 4], [1; 4]));
    assert_eq!(bench.servers(4), [0, 1, 2, 0]);
    bench.drain(1, true);
    assert_eq!(bench.servers(3), [2, 0, 2]);
}

#[test]
fn turns_are_weighted_by_load_and_taken_smoothly() {
    let mut bench = Bench::new(&named(WeightedRoundRobin::NAME), 3);
    // T is 0, 10 and 30 µs and the mean 10 µs: weights 1000, 500, 250. Credits after each choice:
    // (-750, 500, 250) (250, -750, 500) (-500, -250, 750) (500, 250, -750) (-250, 750, -500) (750, -500, -250) (0, 0, 0).
    bench.held(&[0, 1, 3]);
    assert_eq!(bench.servers(14), [0, 1, 0, 2, 0, 1, 0, 0, 1, 0, 2, 0, 1, 0]);
}

#[test]
fn turns_of_equal_servers_go_round_also_when_one_has_been_out() {
    let mut bench = Bench::idle(&named(WeightedRoundRobin::NAME), 3);
    assert_eq!(bench.servers(6), [0, 1, 2, 0, 1, 2]);
    bench.drain(1, true);
    assert_eq!(bench.servers(4), [0, 2, 0, 2]);
    bench.drain(1, false);
    assert_eq!(bench.servers(6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn random_choices_are_even() {
    let mut bench = Bench::idle(&named(Random::NAME), 4);
    let mut counts = [0_u32; 4];
    bench.servers(4000).into_iter().for_each(|id| counts[usize::from(id)] += 1);
    // Four standard deviations are 110.
    assert!(counts.iter().all(|count| count.abs_diff(1000) < 110), "{counts:?}");
}

#[test]
fn of_two_servers_the_one_that_holds_less_is_taken() {
    let mut bench = Bench::idle(&named(TwoChoices::NAME), 3);
    bench.held(&[7, 3, 5]);
    let servers = bench.servers(300);
    let count = |id| servers.iter().filter(|&&server| server == id).count();
    // The pairs (0,1) and (1,2) give 1, the pair (0,2) gives 2; four standard deviations are 33.
    assert_eq!(count(0), 0);
    assert!(count(1).abs_diff(200) < 33, "{}", count(1));
    bench.drain(0, true);
    bench.drain(1, true);
    assert_eq!(bench.servers(2), [2, 2]);
}

#[test]
fn idle_servers_are_taken_in_the_order_in_which_they_reported() {
    let mut bench = Bench::new(&named(JoinIdleQueue::NAME), 4);
    for (id, held) in [(2, 0), (3, 5), (0, 0), (1, 0), (2, 0)] {
        bench.report(id, [held, 0, 0, 0], [10; 4]);
    }
    bench.drain(0, true);
    assert_eq!(bench.servers(2), [2, 1]);
    bench.drain(0, false);
    bench.report(0, [0; 4], [10; 4]);
    bench.report(1, [1, 0, 0, 0], [10; 4]);
    assert_eq!(bench.servers(1), [0]);
}

#[test]
fn a_server_in_the_line_that_is_no_longer_idle_is_passed_over() {
    let mut bench = Bench::idle(&named(JoinIdleQueue::NAME), 2);
    bench.cluster.dispatched(ServerId(0), A, bench.now);
    assert_eq!(bench.servers(1), [1]);
    bench.held(&[1, 1]);
    let mut servers = bench.servers(20);
    servers.sort_unstable();
    servers.dedup();
    assert_eq!(servers, [0, 1], "nobody is idle, so any server is taken");
}

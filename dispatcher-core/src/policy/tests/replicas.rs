//! Replica sets of hot classes: when they grow, shrink and move.

use super::*;

/// T_load is 10 µs, every request takes 10 µs.
fn replicated(server_count: u16) -> Bench {
    let load_threshold = LoadThreshold::Work(Duration::from_micros(10));
    let table = TableKind::Replicated;
    Bench::idle(
        &PolicySettings { table, load_threshold: Some(load_threshold), ..PolicySettings::default() },
        server_count,
    )
}

/// A window of requests, the classes of which repeat `pattern`, on servers that are idle before each.
fn window_of(bench: &mut Bench, pattern: &[ClassId]) {
    for &class in pattern.iter().cycle().take(1024) {
        bench.choose(class);
    }
}

/// A window of which class A has `share` in 16, the others the rest.
fn window(bench: &mut Bench, share: usize) {
    let pattern: Vec<_> = (0..48).map(|i| if i % 16 < share { A } else { [B, C, D][i % 3] }).collect();
    window_of(bench, &pattern);
}

/// All servers that requests of class A go to while every dispatch counts.
fn servers_of_a(bench: &mut Bench) -> Vec<u16> {
    let idle = vec![0; bench.ids.len()];
    bench.held(&idle);
    let mut servers: Vec<_> = (0..bench.ids.len())
        .map(|_| bench.dispatch(A))
        .filter(|choice| choice.1 == Outcome::Hit)
        .map(|c| c.0)
        .collect();
    bench.held(&idle);
    servers.sort_unstable();
    servers.dedup();
    servers
}

#[test]
fn a_class_that_is_often_moved_gets_the_server_that_it_is_moved_to() {
    let mut bench = replicated(3);
    assert_eq!(bench.choose(A), Some((0, Outcome::Unbound)));
    bench.report(0, [3, 0, 0, 0], [10; 4]);
    for _ in 0..16 {
        assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    }
    assert_eq!((bench.choose(A), bench.policy.entries()), (Some((1, Outcome::Hit)), 2));
    assert_eq!(bench.bound()[0], Some(0));
    bench.report(1, [4, 0, 0, 0], [10; 4]);
    bench.report(2, [3, 0, 0, 0], [10; 4]);
    assert_eq!(bench.choose(A), Some((0, Outcome::Hit)), "within the set the least T");
}

#[test]
fn a_class_that_is_moved_now_and_then_stays_as_it_is() {
    let mut bench = replicated(3);
    bench.choose(A);
    for _ in 0..100 {
        bench.report(0, [0; 4], [10; 4]);
        (0..4).for_each(|_| assert_eq!(bench.choose(A), Some((0, Outcome::Hit))));
        bench.report(0, [3, 0, 0, 0], [10; 4]);
        assert_eq!(bench.choose(A), Some((1, Outcome::Moved)));
    }
    assert_eq!(bench.policy.entries(), 1);
}

#[test]
fn a_class_above_the_fair_share_gets_what_it_needs_and_gives_it_back() {
    // Of 4 servers, 6/16 of the work are 1.5: above 1.25, so one more; not above 2.25, so no third.
    let mut bench = replicated(4);
    for share in [6, 6, 6] {
        window(&mut bench, share);
        assert_eq!(servers_of_a(&mut bench).len(), 2);
    }
    // Of windows with 4/16, and half of those before, A has 1.2, 1.1, …: not below 0.75, so both stay.
    (0..3).for_each(|_| window(&mut bench, 4));
    assert_eq!(servers_of_a(&mut bench).len(), 2);
    // 2/16 are 0.5, so one goes as soon as the windows before are forgotten.
    (0..3).for_each(|_| window(&mut bench, 2));
    assert_eq!(servers_of_a(&mut bench).len(), 1);
}

#[test]
fn a_silent_class_ends_with_one_server() {
    let mut bench = replicated(4);
    (0..4).for_each(|_| window(&mut bench, 16));
    assert_eq!(servers_of_a(&mut bench), [0, 1, 2, 3]);
    (0..4).for_each(|_| window(&mut bench, 0));
    assert_eq!(servers_of_a(&mut bench).len(), 1);
}

#[test]
fn a_class_leaves_a_slow_server_by_growing_and_shrinking() {
    let mut bench = replicated(3);
    bench.choose(A);
    bench.report(0, [3, 0, 0, 0], [1000, 10, 10, 10]);
    (0..16).for_each(|_| assert_eq!(bench.choose(A), Some((1, Outcome::Moved))));
    assert_eq!(bench.policy.entries(), 2);
    // The rest of the window in which the set grew, and a whole one.
    (0..2).for_each(|_| window(&mut bench, 1));
    assert_eq!(bench.bound()[0], Some(1), "the most loaded, the entry, has gone");
}

#[test]
fn a_server_that_is_out_leaves_sets_and_entries_with_the_window() {
    let mut bench = replicated(3);
    window(&mut bench, 8);
    assert_eq!(servers_of_a(&mut bench).len(), 2);
    let entry = bench.bound()[0].unwrap();
    bench.drain(entry, true);
    let (other, outcome) = bench.choose(A).unwrap();
    assert_eq!(outcome, Outcome::Hit, "the other server of the set is as good");
    window(&mut bench, 8);
    assert_eq!(bench.bound()[0], Some(other));
    bench.drain(entry, false);
    bench.drain(other, true);
    assert!(bench.choose(A).is_some());
}

#[test]
fn all_sets_together_have_at_most_one_entry_for_each_server() {
    let mut bench = replicated(3);
    for i in 0..10_000_u32 {
        let class = [A, B, C, D][(i % 4) as usize];
        let (server, _) = bench.choose(class).unwrap();
        // Whoever was chosen is busiest from now on, so that everything is moved all the time.
        bench.report(server, [0, 0, 0, 3 + i % 5], [10; 4]);
        assert!(bench.policy.entries() <= CLASSES + 3);
    }
    assert!(bench.policy.entries() > CLASSES);
}

#[test]
fn reports_do_not_rebind_a_class() {
    let mut bench = replicated(3);
    assert_eq!(bench.choose(A), Some((0, Outcome::Unbound)));
    bench.report(2, [1, 0, 0, 0], [10; 4]);
    assert_eq!(bench.bound()[0], Some(0));
    bench.drain(0, true);
    assert_eq!(bench.choose(A), Some((2, Outcome::Hit)), "but they say who is next when its server is out");
}

#[test]
fn classes_move_from_the_server_with_most_demand_to_the_one_with_least() {
    let mut bench = replicated(2);
    assert_eq!([A, B, C, D].map(|class| bench.choose(class).unwrap().0), [0, 1, 0, 1]);
    // Of 16 requests A and C have 6, B and D 2: 12 at server 0, 4 at server 1. A goes, which makes it 6 and 10, then B
    // comes for it, 8 and 8.
    window_of(&mut bench, &[A, C, A, C, A, C, B, D, A, C, A, C, A, C, B, D]);
    assert_eq!(bench.bound(), [1, 0, 0, 1].map(Some));
    (0..3).for_each(|_| window_of(&mut bench, &[A, C, A, C, A, C, B, D]));
    assert_eq!(bench.bound(), [1, 0, 0, 1].map(Some));
}

#[test]
fn a_slow_server_keeps_as_much_as_it_can_do() {
    let mut bench = replicated(2);
    bench.report(1, [0; 4], [30; 4]);
    assert_eq!([A, B, C, D].map(|class| bench.choose(class).unwrap().0), [0, 1, 0, 1]);
    // All classes have a quarter: 2 · 10 µs at server 0, 2 · 30 at server 1. B goes, which makes it 30 and 30.
    window_of(&mut bench, &[A, B, C, D]);
    assert_eq!(bench.bound(), [0, 0, 0, 1].map(Some));
    (0..3).for_each(|_| window_of(&mut bench, &[A, B, C, D]));
    assert_eq!(bench.bound(), [0, 0, 0, 1].map(Some));
}

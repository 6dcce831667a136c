//! `context` with weights: homes, weights that follow demand, hot targets, and what is moved.

use super::*;

/// T_load is 1 ms, every request takes 10 µs.
fn settings() -> PolicySettings {
    let load_threshold = LoadThreshold::Work(Duration::from_millis(1));
    PolicySettings {
        table: TableKind::Weighted,
        load_threshold: Some(load_threshold),
        ..PolicySettings::default()
    }
}

/// Homes of the targets 0 to 11 on three servers of equal weight.
const GOLDEN: [u16; 12] = [0, 2, 1, 1, 1, 1, 0, 2, 2, 1, 1, 2];

/// A target whose home is far nearer than any other server.
const FAR: u64 = 0;

fn homes(bench: &mut Bench, targets: std::ops::Range<u64>) -> Vec<u16> {
    targets.map(|target| bench.target(target).0).collect()
}

/// A policy of its own, so that weights can be seen, on servers with these service times, after so many windows of requests for
/// `target(n)`, none of which counts as a dispatch.
fn after(windows: u64, service_us: &[u32], target: impl Fn(u64) -> u64) -> (Bench, Weighted) {
    let mut bench = Bench::new(&settings(), service_us.len() as u16);
    (0..).zip(service_us).for_each(|(id, &us)| bench.report(id, [0; 4], [us; 4]));
    let mut policy = Weighted::new(settings().load_threshold());
    for n in 0..windows * 512 * service_us.len() as u64 {
        choose(&mut bench, &mut policy, target(n));
    }
    (bench, policy)
}

fn weight(policy: &Weighted, server: u16) -> f64 {
    policy.weight(ServerId(server)).unwrap()
}

fn choose(bench: &mut Bench, policy: &mut Weighted, target: u64) -> u16 {
    let request = Classified { class: A, priority: Priority::HIGHEST, target: Some(target) };
    let view = bench.cluster.view(&bench.ids);
    policy.choose(request, &view, bench.now, &mut bench.rng).unwrap().server.0
}

/// Parts of `targets` requests that the servers get.
fn parts(bench: &mut Bench, policy: &mut Weighted, targets: u64, target: impl Fn(u64) -> u64) -> Vec<f64> {
    let mut counts = vec![0.0; bench.ids.len()];
    for n in 0..targets {
        counts[usize::from(choose(bench, policy, target(n)))] += 1.0 / targets as f64;
    }
    counts
}

#[test]
fn homes_never_change_because_other_front_ends_choose_alike() {
    let mut bench = Bench::idle(&settings(), 3);
    assert_eq!(homes(&mut bench, 0..12), GOLDEN);
    assert_eq!(bench.choose(A), Some((GOLDEN[0], Outcome::Hit)), "without a target it is the class's number");
}

#[test]
fn only_the_targets_of_a_server_that_is_out_find_another() {
    // So few that no window ends.
    let mut bench = Bench::idle(&settings(), 4);
    let before = homes(&mut bench, 0..40);
    bench.drain(2, true);
    let without = homes(&mut bench, 0..40);
    for (before, without) in before.iter().zip(&without) {
        assert!(*without != 2 && (*before == 2 || before == without));
    }
    assert!((0..4).filter(|id| *id != 2).all(|id| without.iter().filter(|&&home| home == id).count() > 7));
    bench.drain(2, false);
    assert_eq!(homes(&mut bench, 0..40), before);
}

#[test]
fn above_t_load_a_request_goes_to_the_second_nearest_or_else_the_least_busy() {
    // The home is never nearer than a thirty-second part for this target, so that T_load alone matters.
    let mut bench = Bench::idle(&settings(), 3);
    let (home, _) = bench.target(FAR);
    bench.drain(home, true);
    let (second, _) = bench.target(FAR);
    // Begun anew, so that it is asked for too seldom to be hot.
    let mut bench = Bench::idle(&settings(), 3);
    let third = 3 - home - second;
    bench.report(home, [100, 0, 0, 0], [10; 4]);
    assert_eq!(bench.target(FAR), (home, Outcome::Hit));
    bench.report(home, [101, 0, 0, 0], [10; 4]);
    assert_eq!(bench.target(FAR), (second, Outcome::Moved));
    bench.report(second, [50, 0, 0, 0], [10; 4]);
    assert_eq!(bench.target(FAR), (second, Outcome::Moved));
    bench.report(second, [51, 0, 0, 0], [10; 4]);
    assert_eq!(bench.target(FAR), (third, Outcome::Moved));
}

#[test]
fn targets_near_a_border_leave_a_busy_server_before_the_others() {
    let (mut home, mut gone) = (0, 0);
    // A bench for each 50, so that no window ends.
    for first in (0..10_000).step_by(50) {
        let mut bench = Bench::idle(&settings(), 4);
        let idle = homes(&mut bench, first..first + 50);
        bench.report(0, [100, 0, 0, 0], [10; 4]);
        for (target, idle) in (first..).zip(idle) {
            let (server, outcome) = bench.target(target);
            assert!(outcome == Outcome::Hit && (server == idle || idle == 0));
            home += u32::from(idle == 0);
            gone += u32::from(server != idle);
        }
    }
    // Its weight counts a thirty-second part less, of which it would keep a quarter.
    assert!((2400..2600).contains(&home) && (45..75).contains(&gone), "{gone} of {home}");
}

#[test]
fn weights_even_out_demand_that_is_skewed() {
    // Two thirds of all are five targets, each half as often as the one before; the other third is a long tail.
    let target =
        |n: u64| if n.is_multiple_of(3) { 100 + n % 997 } else { u64::from((n / 3).trailing_ones()) % 5 };
    let (mut bench, mut policy) = after(0, &[10; 4], target);
    let before = parts(&mut bench, &mut policy, 2000, target);
    let (mut bench, mut policy) = after(60, &[10; 4], target);
    let now = parts(&mut bench, &mut policy, 6000, target);
    assert!(before.iter().any(|part| (part - 0.25).abs() > 0.1), "{before:?}");
    // The first target is a third of all, so its server can have no less.
    let rest = now.iter().filter(|part| **part < 0.33);
    assert!(rest.clone().count() == 3 && rest.clone().all(|part| (0.18..0.27).contains(part)), "{now:?}");
    assert!(policy.entries() <= 4 + 64);
}

#[test]
fn a_slow_server_is_home_to_what_it_can_do() {
    let target = |n: u64| n % 1009;
    let (mut bench, mut policy) = after(40, &[10, 30, 10, 10], target);
    // Demands are even where three servers have 3 requests while it has 1.
    let now = parts(&mut bench, &mut policy, 1009, target);
    for (part, expected) in now.iter().zip([0.3, 0.1, 0.3, 0.3]) {
        assert!((part - expected).abs() < 0.02, "{now:?}");
    }
    assert!((weight(&policy, 1) - 0.4).abs() < 0.08, "{}", weight(&policy, 1));
}

#[test]
fn hot_targets_leave_their_server_until_all_keep_about_as_many_others() {
    // Four targets of the same home have a tenth each, which is four tenths of one server's share of a quarter.
    let mut bench = Bench::idle(&settings(), 4);
    let hot: Vec<_> = (0..).filter(|&target| bench.target(target).0 == 1).take(4).collect();
    let target = |n: u64| if n % 10 < 4 { hot[(n % 10) as usize] } else { 1000 + n % 1009 };
    let (_, policy) = after(60, &[10; 4], target);
    for id in 0..4 {
        let weight = weight(&policy, id);
        assert!((0.8..1.25).contains(&weight), "server {id} has {weight}");
    }
}

#[test]
fn equal_demand_leaves_weights_alone() {
    let (_, policy) = after(40, &[10; 3], |n| n);
    for id in 0..3 {
        let weight = weight(&policy, id);
        assert!((weight - 1.0).abs() < 0.06, "server {id} has {weight}");
    }
}

#[test]
fn first_windows_are_short() {
    let (mut bench, mut policy) = after(0, &[10; 2], |n| n);
    let home = choose(&mut bench, &mut policy, FAR);
    for _ in 1..63 {
        choose(&mut bench, &mut policy, FAR);
    }
    assert_eq!(weight(&policy, home), 1.0);
    choose(&mut bench, &mut policy, FAR);
    assert!(weight(&policy, home) < 0.9, "{}", weight(&policy, home));
}

#[test]
fn a_request_that_is_moved_takes_weight_from_its_home_to_the_least_busy() {
    let (mut bench, mut policy) = after(0, &[10; 3], |n| n);
    let home = choose(&mut bench, &mut policy, FAR);
    bench.report(home, [200, 0, 0, 0], [10; 4]);
    let least = (0..3).find(|&id| id != home).unwrap();
    let other = 3 - home - least;
    bench.report(other, [10, 0, 0, 0], [10; 4]);
    assert_ne!(choose(&mut bench, &mut policy, FAR), home);
    let part = 1.0 / 1024.0;
    assert_eq!([home, least, other].map(|id| weight(&policy, id)), [1.0 - part, 1.0 + part, 1.0]);
}

#[test]
fn a_hot_target_that_is_moved_stays_where_it_went() {
    // A tenth of all, which is three tenths of a server's share less a little.
    let target = |n: u64| if n.is_multiple_of(11) { FAR } else { 1000 + n };
    let (mut bench, mut policy) = after(8, &[10; 3], target);
    let home = choose(&mut bench, &mut policy, FAR);
    bench.report(home, [200, 0, 0, 0], [10; 4]);
    let now = choose(&mut bench, &mut policy, FAR);
    bench.report(home, [0; 4], [10; 4]);
    assert!(now != home && choose(&mut bench, &mut policy, FAR) == now);
    let hottest = policy.hot_homes()[0];
    assert_eq!((hottest.target, hottest.server), (FAR, ServerId(now)));
    assert!((0.2..0.3).contains(&hottest.share), "{hottest:?}");
}

#[test]
fn a_flash_crowd_does_not_take_the_weight_of_its_home() {
    let (mut bench, mut policy) = after(0, &[10; 4], |n| n);
    let home = choose(&mut bench, &mut policy, FAR);
    // More than a quarter of T_load, as the crowd would have it.
    bench.report(home, [26, 0, 0, 0], [10; 4]);
    let target = |n: u64| if n.is_multiple_of(2) { FAR } else { 1000 + n };
    let requests = parts(&mut bench, &mut policy, 20_000, target);
    assert!(weight(&policy, home) > 0.7, "{}", weight(&policy, home));
    assert!(requests.iter().filter(|part| **part > 0.15).count() >= 2, "{requests:?}");
}

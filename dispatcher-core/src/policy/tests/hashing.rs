//! Policies that need no table: rendezvous hashing, and consistent hashing with bounded loads.

use super::*;

fn bounded(factor_percent: u32, server_count: u16) -> Bench {
    let settings = PolicySettings { balance_factor_percent: factor_percent, ..named(BoundedHash::NAME) };
    Bench::idle(&settings, server_count)
}

#[test]
fn the_largest_hash_wins() {
    // The hashes of target 0 are SplitMix64's first outputs: e220…, 6e78…, 06c4…, f88b… for servers 0 to 3.
    let mut bench = Bench::idle(&named(Hash::NAME), 4);
    assert_eq!(bench.target(0), (3, Outcome::Hit));
    bench.drain(3, true);
    assert_eq!(bench.target(0), (0, Outcome::Hit));
    bench.drain(0, true);
    assert_eq!(bench.target(0), (1, Outcome::Hit));
}

#[test]
fn a_server_that_leaves_gives_away_only_its_own_targets() {
    for settings in [named(Hash::NAME), named(BoundedHash::NAME)] {
        let mut bench = Bench::idle(&settings, 5);
        let before: Vec<_> = (0..1000).map(|target| bench.target(target).0).collect();
        bench.drain(2, true);
        let without: Vec<_> = (0..1000).map(|target| bench.target(target).0).collect();
        bench.drain(2, false);
        let after: Vec<_> = (0..1000).map(|target| bench.target(target).0).collect();
        assert_eq!(before, after);
        assert!(before.iter().zip(&without).all(|(old, new)| old == new || *old == 2));
        let count = before.iter().filter(|&&id| id == 2).count();
        assert!((120..280).contains(&count), "{count} of 1000 targets with five servers");
    }
}

#[test]
fn without_a_target_the_class_is_hashed() {
    for name in [Hash::NAME, BoundedHash::NAME, Lard::NAME, LardR::NAME] {
        let mut bench = Bench::idle(&named(name), 3);
        let by_class = bench.choose(C).unwrap().0;
        assert_eq!(bench.target(2).0, by_class, "{name}");
    }
}

/// How many more requests each server takes before a target of its own goes elsewhere.
fn free_slots(bench: &mut Bench, held: &[u32]) -> Vec<bool> {
    bench.held(held);
    let mut free = vec![None; held.len()];
    bench.held(&vec![0; held.len()]);
    let owners: Vec<_> = (0..200).map(|target| bench.target(target).0).collect();
    bench.held(held);
    for (target, owner) in (0..).zip(owners) {
        let (server, outcome) = bench.target(target);
        let is_free = outcome == Outcome::Hit;
        assert_eq!(is_free, server == owner);
        assert_eq!(*free[usize::from(owner)].get_or_insert(is_free), is_free);
    }
    free.into_iter().map(Option::unwrap).collect()
}

#[test]
fn slots_are_shared_out_as_haproxy_does() {
    // ⌈(3 + 1) · 1.25⌉ = 5 slots for three servers: ⌊5/3⌋ = 1, ⌊10/3⌋ - 1 = 2, 5 - 3 = 2.
    let mut bench = bounded(125, 3);
    assert_eq!(free_slots(&mut bench, &[1, 1, 1]), [false, true, true]);
    assert_eq!(free_slots(&mut bench, &[0, 2, 1]), [true, false, true]);
    // ⌈(0 + 1) · 1.25⌉ = 2 slots: 0, 1, 1, and the first is given one all the same.
    assert_eq!(free_slots(&mut bench, &[0, 0, 0]), [true, true, true]);
    // ⌈(9 + 1) · 2⌉ = 20 slots: 6, 7, 7.
    let mut bench = bounded(200, 3);
    assert_eq!(free_slots(&mut bench, &[6, 0, 3]), [false, true, true]);
    assert_eq!(free_slots(&mut bench, &[5, 0, 4]), [true, true, true]);
}

#[test]
fn a_full_server_passes_a_target_on_to_one_and_the_same() {
    let mut bench = bounded(125, 4);
    let (own, _) = bench.target(77);
    let mut held = [1; 4];
    held[usize::from(own)] = 9;
    bench.held(&held);
    let next = bench.target(77);
    assert!(next.0 != own && next.1 == Outcome::Moved);
    assert_eq!(bench.target(77), next);
}

#[test]
fn no_server_holds_more_than_its_slots() {
    let mut bench = bounded(125, 4);
    for requests in 0..400_u64 {
        let (server, _) = bench.target(0);
        bench.cluster.dispatched(ServerId(server), A, bench.now);
        let most = bench.cluster.servers().iter().map(|server| server.queue()).max().unwrap();
        let slots = ((requests + 1) * 125).div_ceil(100).div_ceil(4);
        assert!(u64::from(most) <= slots, "{most} of {requests}");
    }
}

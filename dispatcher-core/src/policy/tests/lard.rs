//! LARD and LARD/R by their authors' Figures 2 and 3, with the authors' limits 25 and 65.

use super::*;

fn lard(name: &str, max_targets: u32) -> Bench {
    let lard = LardSettings { max_targets, ..LardSettings::default() };
    Bench::idle(&PolicySettings { lard, ..named(name) }, 3)
}

#[test]
fn a_new_target_goes_to_the_least_loaded_and_stays() {
    for name in [Lard::NAME, LardR::NAME] {
        let mut bench = lard(name, 100);
        bench.held(&[3, 1, 2]);
        assert_eq!(bench.target(7), (1, Outcome::Unbound));
        bench.held(&[0, 65, 0]);
        assert_eq!(bench.target(7), (1, Outcome::Hit), "65 is not above T_high");
        assert_eq!(bench.policy.entries(), 1);
    }
}

#[test]
fn targets_of_an_idle_cluster_spread_evenly() {
    for name in [Lard::NAME, LardR::NAME] {
        let mut bench = lard(name, 100);
        let servers: Vec<_> = (0..6).map(|target| bench.target(target).0).collect();
        assert_eq!(servers, [0, 1, 2, 0, 1, 2]);
    }
}

#[test]
fn a_target_moves_by_the_two_rules_of_figure_2() {
    for (held, expected) in [
        ([66, 25, 30], (0, Outcome::Hit)),
        ([66, 24, 30], (1, Outcome::Moved)),
        ([129, 70, 60], (0, Outcome::Hit)),
        ([130, 70, 60], (2, Outcome::Moved)),
        ([130, 130, 130], (0, Outcome::Hit)),
    ] {
        for name in [Lard::NAME, LardR::NAME] {
            let mut bench = lard(name, 100);
            assert_eq!(bench.target(7), (0, Outcome::Unbound));
            bench.held(&held);
            assert_eq!(bench.target(7), expected, "{name} {held:?}");
        }
    }
}

#[test]
fn a_moved_target_stays_where_it_went_and_a_set_keeps_both() {
    for (name, entries, afterwards) in [(Lard::NAME, 1, 1), (LardR::NAME, 2, 0)] {
        let mut bench = lard(name, 100);
        bench.target(7);
        bench.held(&[66, 0, 9]);
        assert_eq!(bench.target(7), (1, Outcome::Moved));
        assert_eq!(bench.policy.entries(), entries);
        bench.held(&[2, 3, 0]);
        assert_eq!(bench.target(7), (afterwards, Outcome::Hit));
    }
}

#[test]
fn the_papers_limits_move_targets_earlier() {
    let lard = LardSettings { t_low: 55, ..LardSettings::default() };
    let mut bench = Bench::idle(&PolicySettings { lard, ..named(Lard::NAME) }, 3);
    bench.target(7);
    bench.held(&[66, 54, 60]);
    assert_eq!(bench.target(7), (1, Outcome::Moved));
}

#[test]
fn a_set_that_has_not_changed_for_20_s_loses_its_most_loaded_server() {
    let mut bench = lard(LardR::NAME, 100);
    bench.target(7);
    bench.held(&[66, 0, 9]);
    assert_eq!(bench.target(7), (1, Outcome::Moved));
    let changed_at = bench.now;
    bench.held(&[30, 8, 0]);
    bench.now = changed_at + Duration::from_secs(20);
    assert_eq!(bench.target(7), (1, Outcome::Hit));
    assert_eq!(bench.policy.entries(), 2);
    bench.now += Duration::from_nanos(1);
    assert_eq!(bench.target(7), (1, Outcome::Hit));
    assert_eq!(bench.policy.entries(), 1);
    bench.held(&[0, 60, 0]);
    assert_eq!(bench.target(7), (1, Outcome::Hit), "server 0 has left the set");
}

#[test]
fn a_set_of_one_is_never_emptied() {
    let mut bench = lard(LardR::NAME, 100);
    bench.target(7);
    bench.now += Duration::from_secs(100);
    assert_eq!(bench.target(7), (0, Outcome::Hit));
    bench.held(&[66, 0, 0]);
    assert_eq!(bench.target(7), (1, Outcome::Moved));
    assert_eq!(bench.policy.entries(), 2, "a set that grows now has changed now");
}

#[test]
fn a_target_whose_server_is_out_is_assigned_anew() {
    for name in [Lard::NAME, LardR::NAME] {
        let mut bench = lard(name, 100);
        bench.target(7);
        bench.drain(0, true);
        assert_eq!(bench.target(7), (1, Outcome::Unbound));
        bench.drain(0, false);
        assert_eq!(bench.target(7), (1, Outcome::Hit));
        assert_eq!(bench.policy.entries(), 1);
    }
}

#[test]
fn the_table_is_bounded_and_forgets_the_target_used_least_recently() {
    for name in [Lard::NAME, LardR::NAME] {
        let mut bench = lard(name, 3);
        let servers: Vec<_> = [1, 2, 3, 1, 4].map(|target| bench.target(target).0).into();
        assert_eq!(servers, [0, 1, 2, 0, 0]);
        assert_eq!(bench.target(1), (0, Outcome::Hit));
        assert_eq!(bench.target(2).1, Outcome::Unbound);
        (0..1000).for_each(|target| assert_ne!(bench.target(target).1, Outcome::Moved));
        assert_eq!(bench.policy.entries(), 3);
    }
}

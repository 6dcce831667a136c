//! What the paper's figures show, in runs small enough for every day: see `docs/simulation.md` for the full ones.
//! Margins are wide enough for any seed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use dispatcher_core::policy::TableKind;
use dispatcher_sim::{contender::Contender, run, settings::Settings};

fn hit_rate(servers: u16, contender: &Contender) -> f64 {
    let mut settings = Settings::default();
    settings.cluster.servers = servers;
    (settings.run.warm_up, settings.run.requests) = (20_000, 40_000);
    run::run(&settings, contender).unwrap().hit_rate
}

fn context(table: TableKind, classes: u16) -> f64 {
    hit_rate(16, &Contender::context(table, classes))
}

#[test]
fn round_robin_gains_no_hits_from_more_servers() {
    for servers in [1, 2, 4, 8, 16] {
        let rate = hit_rate(servers, &Contender::named("round-robin"));
        assert!((0.09..0.11).contains(&rate), "{servers}: {rate}");
    }
}

#[test]
fn lard_and_ours_gain_hits_from_more_servers() {
    for contender in ["lard:25/65", "lard-r", "context:sticky:100", "context"] {
        let contender = contender.parse().unwrap();
        let rates = [2, 4, 8, 16].map(|servers| hit_rate(servers, &contender));
        assert!(rates.is_sorted() && rates[0] < 0.21 && rates[3] > 0.98, "{contender}: {rates:?}");
    }
}

#[test]
fn the_faithful_table_passes_the_papers_lard_at_about_20_classes() {
    let lard = hit_rate(16, &Contender::lard("lard", 55, 65));
    let [ten, fifty] = [10, 50].map(|classes| context(TableKind::Faithful, classes));
    assert!(ten < lard && lard < fifty, "K=10 {ten}, LARD {lard}, K=50 {fifty}");
    let twenty = context(TableKind::Faithful, 20);
    assert!((twenty - lard).abs() < 0.03, "K=20 {twenty}, LARD {lard}");
}

#[test]
fn with_1000_classes_the_faithful_table_collapses_and_the_sticky_one_does_not() {
    let [faithful, sticky] = [TableKind::Faithful, TableKind::Sticky].map(|table| context(table, 1000));
    assert!(faithful < 0.8 && sticky > 0.98, "faithful {faithful}, sticky {sticky}");
}

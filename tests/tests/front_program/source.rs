//! Limits of sources: looked at by SYNs, counted by first requests.

use dispatcher_common::{
    admission::{PriorityStats, SOURCE_BURST_NS, SourceRate, way},
    counter::FrontCounter,
};

use crate::{
    admission::{is_syn_reset, syn},
    program::{PRIORITY, Program, coarse_clock_ns, flow_key},
    request::request,
    scene::Scene,
    segment::Family,
    table::{self, Case, DROP, Outcome, REDIRECT, TX, World},
    unknown::is_reset,
};

/// Further ahead than the burst allows, whenever the test runs.
const AHEAD: SourceRate = SourceRate { next_ns: u64::MAX / 2 };

fn limited(outcome: &Outcome) {
    let stats = PriorityStats { limited: 1, ..PriorityStats::default() };
    assert_eq!((outcome.stats[PRIORITY as usize], outcome.filter), (stats, None));
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = over(family);
    cases.extend(within(family));
    cases
}

/// Above either limit, either way.
fn over(family: Family) -> Vec<Case> {
    let fast = |way| Scene { rate: Some(AHEAD), ..Scene::limited(way) };
    let many = |way| Scene { source_open: Some(20), ..Scene::limited(way) };
    let mut cases = Vec::new();
    for scene in [&fast, &many] as [&dyn Fn(u8) -> Scene; 2] {
        for way in [way::RESET, way::RESPOND] {
            cases.push(
                Case::new("a SYN is reset", syn(family).frame(), TX, [FrontCounter::SourceLimitedReset])
                    .in_scene(scene(way))
                    .check(move |outcome| {
                        is_syn_reset(family, 1)(outcome);
                        limited(outcome);
                    }),
            );
        }
        cases.push(
            Case::new("or dropped", syn(family).frame(), DROP, [FrontCounter::SourceLimitedDropped])
                .in_scene(scene(way::DROP))
                .check(limited),
        );
        cases.push(
            Case::new("a request is reset", request(family).frame(), TX, [FrontCounter::SourceLimitedReset])
                .in_scene(scene(way::RESET))
                .check(move |outcome| {
                    is_reset(family, request(family).ack)(outcome);
                    limited(outcome);
                }),
        );
        let unchanged = scene(way::DROP);
        let source = (unchanged.rate, unchanged.source_open);
        cases.push(
            Case::new("or dropped", request(family).frame(), DROP, [FrontCounter::SourceLimitedDropped])
                .in_scene(unchanged)
                .check(move |outcome| {
                    limited(outcome);
                    assert_eq!(outcome.source, source, "what is refused is not counted");
                }),
        );
    }
    cases
}

fn within(family: Family) -> Vec<Case> {
    let first = |name, scene| {
        Case::new(name, request(family).frame(), REDIRECT, [FrontCounter::RequestFirst]).in_scene(scene)
    };
    let fresh = |outcome: &Outcome, open| {
        let (Some(rate), counted) = outcome.source else { panic!("no rate") };
        assert_eq!((rate.next_ns - outcome.filter.unwrap().created_ns, counted), (50_000_000, open));
    };
    let mut without_open = Scene::limited(way::DROP);
    without_open.entry.source_open = 0;
    let mut without_rate = Scene::limited(way::DROP);
    without_rate.entry.source_interval_ns = 0;
    vec![
        Case::new("a SYN counts for nobody", syn(family).frame(), TX, [FrontCounter::SynAnswered])
            .in_scene(Scene::limited(way::DROP))
            .check(|outcome| assert_eq!(outcome.source, (None, None))),
        first("a first request counts for its source", Scene::limited(way::DROP))
            .check(move |outcome| fresh(outcome, Some(1))),
        first(
            "so does the last that is allowed",
            Scene { source_open: Some(19), ..Scene::limited(way::DROP) },
        )
        .check(move |outcome| fresh(outcome, Some(20))),
        first(
            "and one after a count below zero",
            Scene { source_open: Some(u64::MAX), ..Scene::limited(way::DROP) },
        )
        .check(move |outcome| fresh(outcome, Some(0))),
        first("a limit that is not set is not counted", without_open)
            .check(move |outcome| fresh(outcome, None)),
        first("nor the other", without_rate).check(|outcome| assert_eq!(outcome.source, (None, Some(1)))),
        first("nor any without the flag", Scene { flags: 0, rate: Some(AHEAD), ..Scene::limited(way::DROP) })
            .check(|outcome| assert_eq!(outcome.source, (Some(AHEAD), None))),
        Case::new(
            "a request that finds no room counts for nobody",
            request(family).frame(),
            DROP,
            [FrontCounter::FilterTableFull],
        )
        .in_world(World::FullTable)
        .in_scene(Scene::limited(way::DROP))
        .check(|outcome| assert_eq!(outcome.source, (None, None))),
    ]
}

#[test]
fn sources_above_their_limits_are_turned_away() {
    table::run(cases);
}

#[test]
fn a_source_gets_a_burst_of_a_second_and_then_its_rate() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        let mut scene = Scene::limited(way::DROP);
        scene.entry.source_open = 0;
        scene.entry.source_interval_ns = 100_000_000;
        program.set_scene(family, &scene);
        let frame = request(family).frame();
        let start_ns = coarse_clock_ns();
        let mut admitted = 0_u64;
        for _ in 0..40 {
            program.filters().remove(&flow_key(family)).ok();
            admitted += u64::from(program.run("front", &frame).action == REDIRECT);
        }
        let passed_ns = coarse_clock_ns() - start_ns;
        let most = (SOURCE_BURST_NS + passed_ns) / 100_000_000 + 2;
        assert!((10..=most).contains(&admitted), "{admitted} of {most}");
    }
}

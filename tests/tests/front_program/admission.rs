//! Admission at the SYN and at the first request: each way to say no, and everybody else as if it were not there.

use dispatcher_common::{
    admission::{PriorityStats, way},
    counter::FrontCounter,
    filter::state,
};

use crate::{
    program::PRIORITY,
    request::request,
    scene::Scene,
    segment::{ACK, Family, RST, SYN, Segment},
    table::{self, Case, DROP, ISN, Outcome, REDIRECT, TX, established},
    unknown::{check_ends, is_reset},
};

pub(crate) fn syn(family: Family) -> Segment {
    Segment::of_client(family, SYN, ISN, 0).with_options(&[2, 4, 5, 0xb4])
}

/// A RST from nowhere that acknowledges so much of the SYN.
pub(crate) fn is_syn_reset(family: Family, len: u32) -> impl Fn(&Outcome) {
    move |outcome| {
        let reply = outcome.segment();
        assert_eq!((reply.flags, reply.seq, reply.ack), (RST | ACK, 0, ISN.wrapping_add(len)));
        assert_eq!((reply.window, reply.options.len()), (0, 0));
        check_ends(family, outcome, &reply);
    }
}

/// One was counted, of our priority; no filter came to be.
fn refused(outcome: &Outcome, stats: PriorityStats) {
    assert_eq!(outcome.stats[PRIORITY as usize], stats);
    assert_eq!((outcome.filter, outcome.opened), (None, [0; 8]));
}

fn refused_syn(outcome: &Outcome) {
    refused(outcome, PriorityStats { refused_syn: 1, ..PriorityStats::default() });
}

fn refused_first(outcome: &Outcome) {
    refused(outcome, PriorityStats { refused_first: 1, ..PriorityStats::default() });
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = syns(family);
    cases.extend(first_requests(family));
    cases
}

fn syns(family: Family) -> Vec<Case> {
    let full = |way| Scene::overloaded(PRIORITY, way);
    let answered = |name, scene| {
        Case::new(name, syn(family).frame(), TX, [FrontCounter::SynAnswered])
            .in_scene(scene)
            .check(Outcome::assert_uncounted)
    };
    let mut by_signal = Scene::quiet();
    by_signal.entry.overloaded = 1;
    by_signal.entry.open[..PRIORITY as usize].fill(0);
    let mut empty = full(way::RESET);
    empty.entry.open = [0; 8];
    let mut not_asked = full(way::RESET);
    not_asked.flags = 0;
    let with_data = syn(family).with_payload(b"early");
    let known = syn(family).frame();
    vec![
        Case::new("an equal is reset", syn(family).frame(), TX, [FrontCounter::SynRefusedReset])
            .in_scene(full(way::RESET))
            .check(move |outcome| {
                is_syn_reset(family, 1)(outcome);
                refused_syn(outcome);
            }),
        Case::new("with the data of its SYN", with_data.frame(), TX, [FrontCounter::SynRefusedReset])
            .in_scene(full(way::RESET))
            .check(is_syn_reset(family, 6)),
        Case::new("or dropped", syn(family).frame(), DROP, [FrontCounter::SynRefusedDropped])
            .in_scene(full(way::DROP))
            .check(refused_syn),
        answered("or answered, to hear of it at its request", full(way::RESPOND)),
        Case::new(
            "so when the service is overloaded for another reason",
            syn(family).frame(),
            DROP,
            [FrontCounter::SynRefusedDropped],
        )
        .in_scene(Scene {
            entry: dispatcher_common::admission::AdmissionEntry { ways: [way::DROP; 8], ..by_signal.entry },
            ..by_signal
        })
        .check(refused_syn),
        answered("one that is better than the lowest comes in", Scene::overloaded(PRIORITY - 1, way::RESET)),
        answered("a service that is not overloaded lets all in", Scene::quiet()),
        answered("so does one without a flow", empty),
        answered("and one without admission", not_asked),
        Case::new("a refused SYN is not noted in a filter", known, DROP, [FrontCounter::SynRefusedDropped])
            .with_filter({
                let mut old = established(family);
                old.handoff_seq = 5_000;
                old
            })
            .in_scene(full(way::DROP))
            .check(|outcome| assert_eq!(outcome.filter.unwrap().flags, 0)),
    ]
}

fn first_requests(family: Family) -> Vec<Case> {
    let full = |way| Scene::overloaded(PRIORITY, way);
    let given = |name, scene| {
        Case::new(name, request(family).frame(), REDIRECT, [FrontCounter::RequestFirst])
            .in_scene(scene)
            .check(|outcome| {
                outcome.assert_uncounted();
                let filter = outcome.filter.unwrap();
                assert_eq!((filter.state, filter.priority), (state::PENDING, PRIORITY));
            })
    };
    vec![
        Case::new(
            "a first request of an equal is reset",
            request(family).frame(),
            TX,
            [FrontCounter::RequestRefusedReset],
        )
        .in_scene(full(way::RESET))
        .check(move |outcome| {
            is_reset(family, request(family).ack)(outcome);
            refused_first(outcome);
        }),
        Case::new("or dropped", request(family).frame(), DROP, [FrontCounter::RequestRefusedDropped])
            .in_scene(full(way::DROP))
            .check(refused_first),
        given("or given to the slow path for a response", full(way::RESPOND)),
        given("one that is better than the lowest goes there", Scene::overloaded(PRIORITY - 1, way::RESET)),
        given("so does any while the service is not overloaded", Scene::quiet()),
    ]
}

#[test]
fn newcomers_are_judged_at_their_syn_and_at_their_request() {
    table::run(cases);
}

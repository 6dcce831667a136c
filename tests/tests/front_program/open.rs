//! Counts of open flows: one less for each filter that leaves established, and never twice.

use dispatcher_common::{
    admission::way,
    counter::FrontCounter,
    filter::{Filter, flag, state},
};

use crate::{
    program::PRIORITY,
    request::request,
    scene::Scene,
    segment::{ACK, FIN, Family, RST, Segment},
    table::{self, Case, ISN, REDIRECT, TX, established, filter, good_ack},
};

/// Flows of our priority less, and of its source.
fn closed(less: i64, of_source: u64) -> impl Fn(&table::Outcome) {
    move |outcome| {
        let mut expected = [0; 8];
        expected[PRIORITY as usize] = -less;
        assert_eq!((outcome.opened, outcome.source.1), (expected, Some(of_source)));
    }
}

fn scene() -> Scene {
    Scene { source_open: Some(4), ..Scene::limited(way::DROP) }
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let end = |flags| Segment::of_client(family, flags, ISN.wrapping_add(500), good_ack(family));
    let forwarded = |name, flags, state, less, of_source| {
        Case::new(name, end(flags).frame(), TX, [FrontCounter::Forwarded])
            .with_filter(filter(family, state))
            .in_scene(scene())
            .check(move |outcome| {
                closed(less, of_source)(outcome);
                let ends = flags & (FIN | RST) != 0;
                assert_eq!(outcome.filter.unwrap().state, if ends { state::CLOSING } else { state });
            })
    };
    let mut again = request(family);
    again.flags |= FIN;
    let mut cases = vec![
        forwarded("a FIN closes", FIN | ACK, state::ESTABLISHED, 1, 3),
        forwarded("a RST closes", RST, state::ESTABLISHED, 1, 3),
        forwarded("a FIN again closes nothing", FIN | ACK, state::CLOSING, 0, 4),
        forwarded("nor does a RST after it", RST, state::CLOSING, 0, 4),
        forwarded("an ACK does not", ACK, state::ESTABLISHED, 0, 4),
        Case::new("the hand-off again with a FIN closes", again.frame(), TX, [FrontCounter::HandoffRepeated])
            .with_filter(established(family))
            .in_scene(scene())
            .check(closed(1, 3)),
        Case::new(
            "a FIN of a pending flow closes nothing",
            again.frame(),
            REDIRECT,
            [FrontCounter::RequestAgain],
        )
        .with_filter(filter(family, state::PENDING))
        .in_scene(scene())
        .check(closed(0, 4)),
        Case::new(
            "sources are counted only where they have limits",
            end(FIN | ACK).frame(),
            TX,
            [FrontCounter::Forwarded],
        )
        .with_filter(established(family))
        .in_scene(Scene { flags: 0, ..scene() })
        .check(closed(1, 4)),
    ];
    cases.extend([(state::ESTABLISHED, 1, 4), (state::CLOSING, 0, 5), (state::PENDING, 0, 5)].map(
        |(state, less, of_source)| {
            Case::new(
                "a new connection on the port takes the place of the old",
                request(family).frame(),
                REDIRECT,
                [FrontCounter::FilterReplaced, FrontCounter::RequestFirst],
            )
            .with_filter(Filter {
                handoff_seq: 5_000,
                noted_isn: ISN,
                flags: flag::SYN_NOTED,
                ..filter(family, state)
            })
            .in_scene(scene())
            .check(closed(less, of_source))
        },
    ));
    cases
}

#[test]
fn flows_that_end_are_counted_down_once() {
    table::run(cases);
}

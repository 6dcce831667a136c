//! Requests on kept connections: seen to begin, judged at the service's gate, and their responses seen to arrive.

use dispatcher_common::{
    admission::{PriorityStats, way},
    counter::FrontCounter,
    filter::{Filter, flag, state},
    slow_path::{SlowPathMeta, kind},
};

use crate::{
    program::{PRIORITY, SERVER, service_id},
    scene::Scene,
    segment::{ACK, FIN, Family, RST, Segment},
    table::{
        self, CLASS, Case, DROP, ISN, Outcome, REDIRECT, REQUEST_LEN, TX, World, established, filter,
        good_ack, options,
    },
};

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// A flow whose first request was answered.
fn idle(family: Family) -> Filter {
    Filter { response_ns: 5, flags: flag::RESPONDED, ..established(family) }
}

/// In sequence after the first request, with so much of responses acknowledged.
fn segment(family: Family, ahead: u32, payload: &[u8]) -> Segment {
    let (seq, ack) = (ISN.wrapping_add(1 + REQUEST_LEN), good_ack(family).wrapping_add(ahead));
    Segment::of_client(family, ACK, seq, ack).with_timestamps().with_payload(payload)
}

fn forwarded(
    name: &'static str,
    filter: Filter,
    segment: &Segment,
    check: impl Fn(&Outcome, Filter) + 'static,
) -> Case {
    Case::new(name, segment.frame(), TX, [FrontCounter::Forwarded])
        .with_filter(filter)
        .check(move |outcome| check(outcome, outcome.filter.unwrap()))
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = noted(family);
    cases.extend(continued(family));
    cases.extend(refused(family));
    cases.extend(refused_of_followed(family));
    cases.extend(let_through(family));
    cases
}

/// What data and acknowledgements leave in a filter.
fn noted(family: Family) -> Vec<Case> {
    let end = ISN.wrapping_add(1 + REQUEST_LEN + NEXT.len() as u32);
    let ack = good_ack(family).wrapping_add(700);
    let begins = move |outcome: &Outcome, after: Filter| {
        outcome.assert_uncounted();
        assert_eq!((after.request_ns, after.response_ns), (after.last_seen_ns, 0));
        assert_eq!((after.request_ack, after.last_ack, after.next_seq), (ack, ack, end));
        assert_eq!((after.requests, after.flags), (2, flag::RESPONDED));
    };
    let mut bare = segment(family, 900, b"");
    bare.flags = RST;
    vec![
        forwarded("data after a response is a request", idle(family), &segment(family, 700, NEXT), begins),
        forwarded(
            "so when it acknowledges the response itself",
            Filter { request_ns: 1, ..established(family) },
            &segment(family, 700, NEXT),
            move |outcome, after| {
                let moved = outcome.stats[PRIORITY as usize];
                assert_eq!((moved.answered, moved.wait_ns), (1, after.last_seen_ns - 1));
                assert_eq!((after.request_ns, after.response_ns), (after.last_seen_ns, 0));
                assert_eq!((after.request_ack, after.requests, after.flags), (ack, 2, flag::RESPONDED));
            },
        ),
        forwarded(
            "a response is counted by priority",
            established(family),
            &segment(family, 700, b""),
            move |outcome, after| {
                let moved = outcome.stats[PRIORITY as usize];
                let expected = PriorityStats {
                    answered: 1,
                    wait_ns: after.last_seen_ns - 1,
                    ..PriorityStats::default()
                };
                assert_eq!((moved, outcome.opened), (expected, [0; 8]));
                assert_eq!((after.response_ns, after.flags), (after.last_seen_ns, flag::RESPONDED));
                assert_eq!((after.last_ack, after.requests), (ack, 1));
            },
        ),
        forwarded(
            "a RST without ACK acknowledges nothing",
            established(family),
            &bare,
            move |outcome, after| {
                assert_eq!((after.last_ack, after.response_ns), (good_ack(family), 0));
                assert_eq!(outcome.stats[PRIORITY as usize].answered, 0);
            },
        ),
    ]
}

/// Data that is not the beginning of a request.
fn continued(family: Family) -> Vec<Case> {
    let end = ISN.wrapping_add(1 + REQUEST_LEN + NEXT.len() as u32);
    let next = segment(family, 700, NEXT);
    let second = Filter {
        request_ack: good_ack(family).wrapping_add(700),
        next_seq: end,
        requests: 2,
        response_ns: 0,
        ..idle(family)
    };
    let same = |name, filter: Filter, segment: &Segment, next_seq| {
        forwarded(name, filter, segment, move |outcome, after| {
            outcome.assert_uncounted();
            assert_eq!((after.requests, after.next_seq), (filter.requests, next_seq));
            assert_eq!((after.request_ns, after.response_ns), (filter.request_ns, filter.response_ns));
        })
    };
    let mut rest = next.clone();
    rest.seq = end;
    let mut old = next.clone();
    old.seq = ISN.wrapping_add(100);
    vec![
        same("more of a request before its response", second, &rest, end.wrapping_add(NEXT.len() as u32)),
        same("a request again before its response", second, &next, end),
        same("a request again after its response", Filter { response_ns: 7, ..second }, &next, end),
        same(
            "more of a request whose response this does not acknowledge",
            Filter { request_ack: good_ack(family).wrapping_add(800), ..idle(family) },
            &next,
            end,
        ),
        same("an old segment", idle(family), &old, ISN.wrapping_add(1 + REQUEST_LEN)),
    ]
}

/// A closed gate.
fn gated(way: u8) -> Scene {
    let mut scene = Scene { gate: PRIORITY + 1, ..Scene::quiet() };
    scene.entry.ways[PRIORITY as usize] = way;
    scene
}

/// Refused ones, of which nothing is noted but what was acknowledged.
fn refused(family: Family) -> Vec<Case> {
    let meta = SlowPathMeta {
        kind: kind::KEPT,
        options: options().0,
        service: service_id(family),
        server: SERVER,
        class: CLASS,
    };
    let unnoted = move |outcome: &Outcome| {
        let after = outcome.filter.unwrap();
        let expected = Filter {
            last_seen_ns: after.last_seen_ns,
            packets: 11,
            bytes: 1_000 + outcome.before.len() as u64,
            last_ack: good_ack(family).wrapping_add(700),
            ..idle(family)
        };
        assert_eq!((after, outcome.opened), (expected, [0; 8]));
        let stats = PriorityStats { refused_kept: 1, ..PriorityStats::default() };
        assert_eq!(outcome.stats[PRIORITY as usize], stats);
    };
    let next = segment(family, 700, NEXT);
    let mut closing = next.clone();
    closing.flags |= FIN;
    let dropped = |name, segment: &Segment| {
        Case::new(name, segment.frame(), DROP, [FrontCounter::KeptRefusedDropped])
            .with_filter(idle(family))
            .in_scene(gated(way::DROP))
            .check(unnoted)
    };
    let mut cases: Vec<Case> = [way::RESET, way::RESPOND]
        .map(|way| {
            Case::new(
                "a request below the gate goes to the slow path",
                next.frame(),
                REDIRECT,
                [FrontCounter::KeptRefused],
            )
            .with_filter(idle(family))
            .in_scene(gated(way))
            .check(move |outcome| {
                outcome.assert_untouched();
                assert_eq!(outcome.meta, Some(meta));
                unnoted(outcome);
            })
        })
        .into();
    cases.extend([dropped("or is dropped", &next), dropped("and does not close", &closing)]);
    cases.extend(
        [b"POST /", b"HEAD /", b"PUT /1", b"DELETE", b"PATCH ", b"OPTION", b"TRACE "]
            .map(|start| dropped("so with any method", &segment(family, 700, start))),
    );
    cases.push(
        Case::new("nobody listens", next.frame(), DROP, [FrontCounter::SlowPathAbsentDropped])
            .with_filter(idle(family))
            .in_scene(gated(way::RESET))
            .in_world(World::NoSlowPath),
    );
    cases
}

/// A flow that is followed begins a request where it is known to, and nowhere else.
fn refused_of_followed(family: Family) -> Vec<Case> {
    let followed = Filter {
        flags: flag::RESPONDED | flag::FOLLOWED,
        boundary: ISN.wrapping_add(1 + REQUEST_LEN),
        ..idle(family)
    };
    let refused = |name, payload: &[u8]| {
        let next = segment(family, 700, payload);
        Case::new(name, next.frame(), DROP, [FrontCounter::KeptRefusedDropped])
            .with_filter(followed)
            .in_scene(gated(way::DROP))
            .check(move |outcome| {
                let (after, ack) = (outcome.filter.unwrap(), good_ack(family).wrapping_add(700));
                assert_eq!((after.flags, after.boundary), (followed.flags, followed.boundary));
                assert_eq!((after.last_ack, after.next_seq, after.requests), (ack, followed.next_seq, 1));
            })
    };
    let body = Filter { boundary: followed.boundary.wrapping_add(1_000), ..followed };
    let early = Filter { flags: flag::FOLLOWED, response_ns: 0, ..followed };
    let goes_on = |name, filter: Filter, segment: &Segment, action, counter| {
        Case::new(name, segment.frame(), action, [counter])
            .with_filter(filter)
            .in_scene(gated(way::DROP))
            .check(|outcome| assert_eq!(outcome.stats[PRIORITY as usize].refused_kept, 0))
    };
    let asked = FrontCounter::FurtherAsked;
    vec![
        refused("a request where one may start", NEXT),
        refused("whatever its method", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
        goes_on("not a body", body, &segment(family, 700, NEXT), TX, FrontCounter::Forwarded),
        goes_on("nor a request before the response", early, &segment(family, 0, NEXT), REDIRECT, asked),
    ]
}

/// What goes through a closed gate.
fn let_through(family: Family) -> Vec<Case> {
    let next = segment(family, 700, NEXT);
    let through = |name, filter: Filter, segment: &Segment, scene: Scene| {
        forwarded(name, filter, segment, |outcome, _| {
            assert_eq!(outcome.stats[PRIORITY as usize].refused_kept, 0)
        })
        .in_scene(scene)
    };
    let drop = || gated(way::DROP);
    let unanswered =
        Filter { request_ack: good_ack(family).wrapping_add(700), response_ns: 0, ..idle(family) };
    let mut again = next.clone();
    again.seq = ISN.wrapping_add(1);
    let closing = Filter { response_ns: 5, flags: flag::RESPONDED, ..filter(family, state::CLOSING) };
    vec![
        through("an open gate", idle(family), &next, Scene { gate: PRIORITY, ..drop() }),
        through("an ACK", idle(family), &segment(family, 700, b""), drop()),
        through("more of a request before its response", unanswered, &next, drop()),
        through("data that the server has", idle(family), &again, drop()),
        through("data that is no request", idle(family), &segment(family, 700, b"get / "), drop()),
        through("data too short to tell", idle(family), &segment(family, 700, b"GET"), drop()),
        through("data after a FIN", closing, &next, drop()),
    ]
}

#[test]
fn requests_on_kept_connections_are_seen_and_judged() {
    table::run(cases);
}

//! Requests after the first of a connection that is followed: what the class cache knows goes to the server that has the
//! connection, with a ticket; what it does not know goes to the slow path; and what is neither goes on as it is.

use dispatcher_common::{
    class_cache::CachedClass,
    counter::FrontCounter::{self, *},
    filter::{Filter, flag, opaque, state},
    limits::PRIORITIES,
    path_state::PathState,
    service,
    slow_path::{SlowPathMeta, kind},
    ticket::{KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, Ticket},
};

use crate::{
    program::{OTHER, PRIORITY, SERVER, SERVER_MAC, service_id},
    quick::{CACHED, HEAD, key_of, opened},
    scene::Scene,
    segment::{ACK, FIN, FRONT_MAC, Family, Segment},
    table::{
        self, CLASS, Case, DROP, ISN, Outcome, REDIRECT, REQUEST_LEN, TX, World, established, good_ack,
        options,
    },
};

/// Class of the further request.
const NEXT_CLASS: u16 = 23;
/// What of the response before it acknowledges.
const RESPONSE_LEN: u32 = 700;
/// Two SACK blocks beside timestamps: no room for a ticket.
const CROWDED: [u8; 32] =
    [1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 66, 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
const UNKNOWN: &[u8] = b"GET /images/b.png HTTP/1.1\r\nHost: example.org\r\n\r\n";

const fn start() -> u32 {
    ISN.wrapping_add(1 + REQUEST_LEN)
}

/// A flow whose first request was answered, and whose next one is waited for.
fn idle(family: Family) -> Filter {
    Filter {
        response_ns: 5,
        flags: flag::RESPONDED | flag::FOLLOWED,
        boundary: start(),
        ..established(family)
    }
}

/// The same before the response.
fn waiting(family: Family) -> Filter {
    Filter { response_ns: 0, flags: flag::FOLLOWED, ..idle(family) }
}

/// One whose next request is with the slow path.
fn asked(family: Family) -> Filter {
    Filter { flags: flag::RESPONDED | flag::ASKED, ..idle(family) }
}

/// One whose second request was sent with a ticket and has no response yet.
fn sent(family: Family, flags: u8) -> Filter {
    let ack = good_ack(family).wrapping_add(RESPONSE_LEN);
    Filter {
        flags,
        handoff_seq: start(),
        handoff_ack: ack,
        request_ack: ack,
        last_ack: ack,
        response_ns: 0,
        requests: 2,
        number: 1,
        move_to: OTHER,
        next_seq: start().wrapping_add(HEAD.len() as u32),
        boundary: start().wrapping_add(HEAD.len() as u32),
        ..idle(family)
    }
}

fn request(family: Family) -> Segment {
    let ack = good_ack(family).wrapping_add(RESPONSE_LEN);
    Segment::of_client(family, ACK, start(), ack).with_timestamps().with_payload(HEAD)
}

fn scene() -> Scene {
    Scene { flags: service::flag::QUICK | service::flag::PER_REQUEST, ..Scene::default() }
}

/// A case of a service that dispatches every request, whose class cache knows the request.
fn case(
    name: &'static str,
    filter: Filter,
    segment: &Segment,
    action: u32,
    counters: impl Into<Vec<FrontCounter>>,
) -> Case {
    Case::new(name, segment.frame(), action, counters)
        .with_filter(filter)
        .in_scene(scene())
        .with_cached(key_of(HEAD).unwrap(), CachedClass { class: NEXT_CLASS, ..CACHED })
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = dispatched(family);
    cases.extend(pipelined(family));
    cases.extend(given(family));
    cases.extend(unheard(family));
    cases.extend(plain(family));
    cases.extend(repeated(family));
    cases
}

/// What the filter's counts of segments are after one more.
fn seen(before: Filter, outcome: &Outcome) -> Filter {
    let after = outcome.filter.unwrap();
    assert!(after.last_seen_ns > 1);
    Filter {
        last_seen_ns: after.last_seen_ns,
        packets: before.packets + 1,
        bytes: before.bytes + outcome.before.len() as u64,
        last_ack: Segment::read(&outcome.before).ack,
        ..before
    }
}

/// The frame went to the server that has the connection, with nothing else changed.
fn assert_plain(outcome: &Outcome) {
    assert_eq!(outcome.after[..12], [SERVER_MAC, FRONT_MAC].concat());
    assert_eq!(outcome.after[12..], outcome.before[12..]);
    assert_eq!(outcome.traffic.packets, 1);
}

/// The frame went to the server that has the connection, with this ticket and nothing else changed.
fn assert_ticket(family: Family, outcome: &Outcome, ticket: Ticket) {
    let (after, found) = opened(family, &outcome.after);
    let before = Segment::read(&outcome.before);
    assert_eq!(after, Segment { destination_mac: SERVER_MAC, source_mac: FRONT_MAC, ..before });
    assert_eq!(found, ticket);
    assert_eq!(outcome.traffic.bytes, outcome.before.len() as u64 + 16);
}

/// A hand-off names no server.
fn ticket(kind: u8, number: u8, class: u16, server: u16) -> Ticket {
    let options = options();
    Ticket {
        kind,
        options,
        priority: PRIORITY,
        timestamps: true,
        followed: true,
        number,
        class,
        server,
        path: PathState::UNKNOWN,
    }
}

/// The filter of a request that went to a server with a ticket.
fn booked(before: Filter, outcome: &Outcome, server: u16) -> Filter {
    let segment = Segment::read(&outcome.before);
    let end = segment.seq.wrapping_add(segment.payload.len() as u32);
    let moving = if server == SERVER { 0 } else { flag::MOVING };
    let seen = seen(before, outcome);
    Filter {
        flags: flag::FOLLOWED | flag::FURTHER | moving,
        class: NEXT_CLASS,
        handoff_seq: segment.seq,
        handoff_ack: segment.ack,
        request_ack: segment.ack,
        request_ns: seen.last_seen_ns,
        response_ns: 0,
        requests: before.requests + 1,
        number: before.requests as u8,
        move_to: server,
        boundary: end,
        next_seq: end,
        ..seen
    }
}

fn dispatched(family: Family) -> Vec<Case> {
    let request = request(family);
    let stays = move |name, filter: Filter, number, counters: &[FrontCounter]| {
        case(name, filter, &request, TX, counters).check(move |outcome| {
            assert_ticket(family, outcome, ticket(KIND_BOOKS, number, NEXT_CLASS, SERVER));
            let before = Filter { kept_busy: counters_of_kept(&filter), ..filter };
            assert_eq!(outcome.filter.unwrap(), booked(before, outcome, SERVER));
            assert_eq!((outcome.opened, outcome.kept_requests), ([0; PRIORITIES], 0));
        })
    };
    let open = idle(family);
    let kept = Filter { flags: open.flags | flag::FURTHER | flag::MOVING, move_to: OTHER, ..open };
    let mut cases = vec![
        stays("a request that stays", open, 1, &[FurtherStayed]),
        stays("one that acknowledges the response itself", waiting(family), 1, &[FurtherStayed]),
        stays("the number goes round", Filter { requests: 300, ..open }, 44, &[FurtherStayed]),
        stays("the one before was kept", kept, 1, &[FurtherStayed, MoveKeptBusy]),
    ];
    cases.extend(moving(family));
    cases
}

fn counters_of_kept(filter: &Filter) -> u32 {
    u32::from(filter.flags & flag::MOVING != 0)
}

fn moving(family: Family) -> Vec<Case> {
    let (request, open) = (request(family), idle(family));
    let moves = |name, world, action| {
        case(name, open, &request, action, [FurtherMoving]).with_candidate(OTHER).in_world(world).check(
            move |outcome| {
                assert_ticket(family, outcome, ticket(KIND_MOVE, 1, NEXT_CLASS, OTHER));
                assert_eq!(outcome.filter.unwrap(), booked(open, outcome, OTHER));
            },
        )
    };
    vec![
        moves("a request for another server goes to the one that has the connection", World::Usual, TX),
        moves("so in two-arm mode", World::TwoArm, REDIRECT),
        case("a ticket needs headroom", open, &request, DROP, [NoHeadroomDropped])
            .in_world(World::NoHeadroom)
            .check(move |outcome| assert_eq!(outcome.filter.unwrap(), booked(open, outcome, SERVER))),
    ]
}

/// Behind a request without a response: no ticket, and what the one before needs stays.
fn pipelined(family: Family) -> Vec<Case> {
    let mut early = request(family);
    early.ack = good_ack(family);
    let behind = |name, filter: Filter, segment: Segment| {
        case(name, filter, &segment, TX, [FurtherPipelined]).with_candidate(OTHER).check(move |outcome| {
            assert_plain(outcome);
            let end = Segment::read(&outcome.before).seq.wrapping_add(HEAD.len() as u32);
            let expected = Filter {
                requests: filter.requests + 1,
                boundary: end,
                next_seq: end,
                ..seen(filter, outcome)
            };
            assert_eq!((outcome.filter.unwrap(), outcome.kept_requests), (expected, 1));
        })
    };
    let mut third = request(family);
    third.seq = third.seq.wrapping_add(HEAD.len() as u32);
    let moving = sent(family, flag::FOLLOWED | flag::FURTHER | flag::MOVING);
    vec![
        behind("behind a hand-off without a response", waiting(family), early.clone()),
        behind("behind a request that is about to move", moving, third),
        given_with(
            "behind one and not known",
            waiting(family),
            &early.with_payload(UNKNOWN),
            &[ClassCacheMiss],
        ),
    ]
}

fn meta(family: Family, kind: u8) -> SlowPathMeta {
    SlowPathMeta { kind, options: options().0, service: service_id(family), server: SERVER, class: CLASS }
}

/// Goes to the slow path, and nothing is noted but that.
fn given_with(
    name: &'static str,
    filter: Filter,
    segment: &Segment,
    reasons: &'static [FrontCounter],
) -> Case {
    let family = if segment.source.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    case(name, filter, segment, REDIRECT, [&[FurtherAsked], reasons].concat()).check(move |outcome| {
        outcome.assert_untouched();
        assert_eq!(outcome.meta, Some(meta(family, kind::FURTHER)));
        let after = outcome.filter.unwrap();
        let flags = filter.flags & !flag::FOLLOWED | flag::ASKED;
        assert_eq!(after, Filter { flags, state: after.state, ..seen(filter, outcome) });
        assert_eq!(outcome.kept_requests, 0);
    })
}

fn given(family: Family) -> Vec<Case> {
    let (request, open) = (request(family), idle(family));
    let given = |name, segment: &Segment, reasons| given_with(name, open, segment, reasons);
    let mut closing = request.clone();
    closing.flags |= FIN;
    let mut behind = request.clone();
    behind.seq = behind.seq.wrapping_add(HEAD.len() as u32);
    vec![
        given("a request that is not known", &request.clone().with_payload(UNKNOWN), &[ClassCacheMiss]),
        given("two requests", &request.clone().with_payload(&HEAD.repeat(2)), &[ClassCacheUnusual]),
        given(
            "a head that goes on",
            &request.clone().with_payload(&HEAD[..HEAD.len() - 1]),
            &[ClassCacheUnusual],
        ),
        given("no room for a ticket", &request.clone().with_options(&CROWDED), &[]),
        given("a request with a FIN", &closing, &[])
            .check(|outcome| assert_eq!(outcome.filter.unwrap().state, state::CLOSING)),
        given("no server to go to", &request, &[ClassCacheUndecided]).with_candidate(SERVER + 1),
        given("a service with cookie rules", &request, &[])
            .in_scene(Scene { flags: service::flag::PER_REQUEST, ..Scene::default() }),
        given("a service that dispatches first requests only", &request, &[])
            .in_scene(Scene { flags: service::flag::QUICK, ..Scene::default() }),
        given_with("the same again, while it is there", asked(family), &request, &[]),
        case("what is behind it", asked(family), &behind, REDIRECT, [FurtherBehind]).check(move |outcome| {
            outcome.assert_untouched();
            assert_eq!(outcome.meta, Some(meta(family, kind::BEHIND)));
            assert_eq!(outcome.filter.unwrap(), seen(asked(family), outcome));
        }),
    ]
}

/// Nobody listens: a request goes on with a ticket, and its flow stays.
fn unheard(family: Family) -> Vec<Case> {
    let unknown = request(family).with_payload(UNKNOWN);
    let end = start().wrapping_add(UNKNOWN.len() as u32);
    let case = |name, filter, segment: &Segment, counters: &[FrontCounter]| {
        case(name, filter, segment, TX, counters).in_world(World::NoSlowPath)
    };
    let stays = |name, filter: Filter, reasons: &[FrontCounter]| {
        case(name, filter, &unknown, &[&[FurtherUnheard, OpaqueUnheard], reasons].concat()).check(
            move |outcome| {
                let books = Ticket { followed: false, ..ticket(KIND_BOOKS, 1, CLASS, SERVER) };
                assert_ticket(family, outcome, books);
                let expected = Filter {
                    flags: flag::FURTHER,
                    opaque: opaque::UNHEARD,
                    class: CLASS,
                    boundary: filter.boundary,
                    ..booked(filter, outcome, SERVER)
                };
                assert_eq!((outcome.filter.unwrap(), outcome.kept_requests), (expected, 1));
            },
        )
    };
    let bare = |name, filter: Filter, segment: &Segment, counters: &[FrontCounter], requests| {
        case(name, filter, segment, counters).check(move |outcome| {
            assert_plain(outcome);
            let after = outcome.filter.unwrap();
            assert_eq!((after.opaque, after.handoff_seq), (opaque::UNHEARD, filter.handoff_seq));
            assert_eq!(after.flags, filter.flags & !(flag::FOLLOWED | flag::ASKED));
            assert_eq!((after.requests, after.next_seq), (requests, end));
        })
    };
    let mut early = unknown.clone();
    early.ack = good_ack(family);
    let mut behind = unknown.clone();
    behind.seq = end;
    let lost = [FurtherUnheard, OpaqueUnheard];
    let unseen = [FurtherUnheard, OpaqueUnheard, ClassCacheMiss];
    vec![
        stays("nobody takes a request", idle(family), &[ClassCacheMiss]),
        stays("nor one that was asked about", asked(family), &[]),
        bare("one behind a request without a response gets no ticket", waiting(family), &early, &unseen, 1),
        bare(
            "nor one that has no room for it",
            asked(family),
            &unknown.clone().with_options(&CROWDED),
            &lost,
            2,
        ),
        case(
            "what is behind goes on, and the request is still waited for",
            asked(family),
            &behind,
            &[FurtherUnheard],
        )
        .check(move |outcome| {
            assert_plain(outcome);
            let next_seq = end.wrapping_add(UNKNOWN.len() as u32);
            assert_eq!(outcome.filter.unwrap(), Filter { next_seq, ..seen(asked(family), outcome) });
        }),
        Case::new("a request needs room for what is said of it", unknown.frame(), DROP, [NoHeadroomDropped])
            .with_filter(asked(family))
            .in_scene(scene())
            .in_world(World::NoHeadroom),
    ]
}

/// What starts no request, and what cannot be told.
fn plain(family: Family) -> Vec<Case> {
    let request = request(family);
    let end = start().wrapping_add(HEAD.len() as u32);
    let body = Filter { boundary: start().wrapping_add(10_000), ..idle(family) };
    let forwarded = |name, filter: Filter, segment: &Segment, next_seq| {
        case(name, filter, segment, TX, [Forwarded]).check(move |outcome| {
            assert_plain(outcome);
            assert_eq!(outcome.filter.unwrap(), Filter { next_seq, ..seen(filter, outcome) });
            assert_eq!(outcome.kept_requests, 0);
        })
    };
    let straddles = |name, filter: Filter, segment: &Segment| {
        case(name, filter, segment, TX, [Forwarded, OpaqueStraddled]).check(move |outcome| {
            assert_plain(outcome);
            let after = outcome.filter.unwrap();
            assert_eq!((after.flags, after.opaque), (flag::RESPONDED, opaque::STRADDLED));
            assert_eq!((after.requests, outcome.kept_requests), (2, 1));
            assert_eq!(after.next_seq, start().wrapping_add(HEAD.len() as u32));
        })
    };
    let mut old = request.clone();
    old.seq = ISN.wrapping_add(100);
    old.payload.truncate(20);
    vec![
        forwarded("a body, whatever it looks like", body, &request, end),
        forwarded("old data", idle(family), &old, start()),
        forwarded("an ACK", idle(family), &request.clone().with_payload(b""), start()),
        forwarded(
            "an ACK while a request is with the slow path",
            asked(family),
            &request.clone().with_payload(b""),
            start(),
        ),
        straddles(
            "a request in the middle of a segment",
            Filter { boundary: start().wrapping_add(10), ..idle(family) },
            &request,
        ),
        straddles(
            "a request that began in a segment before",
            Filter { boundary: start().wrapping_sub(10), ..idle(family) },
            &request,
        ),
    ]
}

fn repeated(family: Family) -> Vec<Case> {
    let followed = flag::FOLLOWED | flag::FURTHER;
    let mut older = request(family);
    older.ack = older.ack.wrapping_sub(1);
    let again = |name, filter: Filter, segment: &Segment, counters: &[FrontCounter], ticket: Ticket| {
        case(name, filter, segment, TX, counters).check(move |outcome| {
            assert_ticket(family, outcome, ticket);
            let after = outcome.filter.unwrap();
            let handoff_ack = Segment::read(&outcome.before).ack;
            let before = Filter { flags: after.flags, opaque: after.opaque, ..seen(filter, outcome) };
            assert_eq!(after, Filter { handoff_ack, ..before });
        })
    };
    let books = ticket(KIND_BOOKS, 1, CLASS, SERVER);
    let opaque = Ticket { followed: false, ..books };
    let longer = request(family).with_payload(&HEAD.repeat(2));
    let handed_off = Filter { flags: flag::FOLLOWED, move_to: 0, ..sent(family, 0) };
    let mut cases = vec![
        again("a request again", sent(family, followed), &older, &[FurtherRepeated], books),
        again(
            "a request for another server again",
            sent(family, followed | flag::MOVING),
            &request(family),
            &[FurtherRepeated],
            ticket(KIND_MOVE, 1, CLASS, OTHER),
        ),
        again("so of a flow that stays", sent(family, flag::FURTHER), &older, &[FurtherRepeated], opaque),
        again(
            "with the next one behind it",
            sent(family, followed),
            &longer,
            &[FurtherRepeated, OpaqueStraddled],
            opaque,
        ),
        again(
            "one with which the connection was handed over",
            handed_off,
            &request(family),
            &[HandoffRepeated],
            ticket(KIND_HAND_OFF, 1, CLASS, 0),
        ),
        case(
            "not once it has a response",
            Filter { response_ns: 5, flags: followed | flag::RESPONDED, ..sent(family, 0) },
            &request(family),
            TX,
            [Forwarded],
        )
        .check(assert_plain),
    ];
    cases.push(
        case(
            "without room for its ticket",
            sent(family, followed),
            &older.with_options(&CROWDED),
            REDIRECT,
            [FurtherAsked],
        )
        .check(move |outcome| {
            outcome.assert_untouched();
            assert_eq!(outcome.meta, Some(meta(family, kind::FURTHER_AGAIN)));
            assert_eq!(outcome.filter.unwrap().flags, followed);
        }),
    );
    cases.extend(handed_over_while_asked(family));
    cases
}

/// The slow path has the next request, and may be writing what undoes that the connection was released.
fn handed_over_while_asked(family: Family) -> [Case; 2] {
    let filter = Filter { move_to: 0, moves: 1, ..sent(family, flag::ASKED) };
    let again = |name, action, counter| case(name, filter, &request(family), action, [counter]);
    [
        again("a hand-over waits for the slow path", REDIRECT, HandoffRepeatedSlow).check(move |outcome| {
            outcome.assert_untouched();
            assert_eq!(outcome.meta, Some(meta(family, kind::RETICKET)));
            assert_eq!(outcome.filter.unwrap(), seen(filter, outcome));
        }),
        again("unless nobody is there", TX, HandoffRepeated).in_world(World::NoSlowPath).check(
            move |outcome| {
                assert_ticket(family, outcome, ticket(KIND_HAND_OFF, 1, CLASS, 0));
                assert_eq!(outcome.filter.unwrap(), seen(filter, outcome));
            },
        ),
    ]
}

#[test]
fn further_requests_go_to_the_server_that_has_the_connection_with_a_ticket() {
    table::run(cases);
}

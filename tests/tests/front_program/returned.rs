//! What servers send back: released requests go to the next server, other segments to the one that has the flow; and tickets that
//! no server made.

use dispatcher_common::{
    counter::FrontCounter::{self, *},
    epoch::Epoch,
    filter::{Filter, flag, state},
    path_state::PathState,
    server::Traffic,
    siphash::SipKey,
    ticket::{self, KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, KIND_RELEASED, Ticket},
};

use crate::{
    program::{EPOCH, OTHER, OTHER_MAC, PRIORITY, SERVER, SERVER_MAC, TICKET_KEY},
    quick::{HEAD, opened},
    segment::{ACK, FIN, FRONT_MAC, Family, SYN, Segment},
    table::{
        self, CLASS, Case, DROP, ISN, Outcome, PASS, REDIRECT, TX, World, established, filter, good_ack,
        options,
    },
};

const NUMBER: u8 = 4;
const SEQ: u32 = ISN.wrapping_add(2_000);
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 66];

fn ack(family: Family) -> u32 {
    good_ack(family).wrapping_add(3_000)
}

/// What the server that lets a connection go tells of the path.
const PATH: PathState = PathState(0x5a);

fn ticket(kind: u8, server: u16) -> Ticket {
    let tells_path = matches!(kind, KIND_HAND_OFF | KIND_RELEASED);
    Ticket {
        kind,
        options: options(),
        priority: PRIORITY,
        timestamps: true,
        followed: true,
        number: NUMBER,
        class: CLASS,
        server,
        path: if tells_path { PATH } else { PathState::UNKNOWN },
    }
}

/// A request as a server sends it back, without its ticket.
fn request(family: Family) -> Segment {
    Segment {
        destination_mac: FRONT_MAC,
        source_mac: SERVER_MAC,
        ..Segment::of_client(family, ACK, SEQ, ack(family)).with_options(&TIMESTAMPS).with_payload(HEAD)
    }
}

fn sealed_by(key: &SipKey, epoch: Epoch, family: Family, mut segment: Segment, ticket: &Ticket) -> Segment {
    let tuple = family.tuple();
    let place = ticket::Segment { tuple: &tuple, seq: segment.seq, ack: segment.ack };
    let words = ticket.seal(key, &place, epoch);
    let option = words.iter().flat_map(|word| word.to_ne_bytes());
    segment.options = option.chain(segment.options).collect();
    segment
}

fn sealed(family: Family, segment: Segment, ticket: &Ticket) -> Segment {
    sealed_by(&TICKET_KEY, EPOCH, family, segment, ticket)
}

fn released(family: Family) -> Segment {
    sealed(family, request(family), &ticket(KIND_RELEASED, OTHER))
}

/// A flow whose latest request was sent with a move ticket.
fn moving(family: Family) -> Filter {
    Filter {
        flags: flag::FOLLOWED | flag::FURTHER | flag::MOVING,
        handoff_seq: SEQ,
        handoff_ack: ack(family).wrapping_sub(1),
        requests: 5,
        number: NUMBER,
        move_to: OTHER,
        boundary: SEQ.wrapping_add(HEAD.len() as u32),
        ..established(family)
    }
}

/// What becomes of it once the connection was released.
fn moved(family: Family) -> Filter {
    Filter { flags: flag::FOLLOWED, server: OTHER, moves: 1, handoff_ack: ack(family), ..moving(family) }
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = releases(family);
    cases.extend(stale(family));
    cases.extend(bounced(family));
    cases.extend(foreign(family));
    cases.extend(inner(family));
    cases
}

/// Went to the next server as a hand-off, with nothing else changed.
fn assert_handed_off(family: Family, outcome: &Outcome) {
    let (after, found) = opened(family, &outcome.after);
    assert_eq!(after, Segment { destination_mac: OTHER_MAC, source_mac: FRONT_MAC, ..request(family) });
    assert_eq!(found, ticket(KIND_HAND_OFF, 0));
    assert_eq!(outcome.filter.unwrap(), moved(family));
}

fn releases(family: Family) -> Vec<Case> {
    let goes_on = |name, filter: Filter, world, action| {
        Case::new(name, released(family).frame(), action, [MoveReleased])
            .with_filter(filter)
            .in_world(world)
            .check(move |outcome| assert_handed_off(family, outcome))
    };
    vec![
        goes_on("a released request goes to the next server", moving(family), World::Usual, TX),
        goes_on("so in two-arm mode", moving(family), World::TwoArm, REDIRECT).by_program("inner"),
        goes_on("so again", moved(family), World::Usual, TX),
        to_its_own(family),
        Case::new("unless that has no address", released(family).frame(), DROP, [ServerUnusableDropped])
            .with_filter(moving(family))
            .in_world(World::ServerWithoutMac),
    ]
}

/// A server released the connection for a request that was then given to it after all.
fn to_its_own(family: Family) -> Case {
    let own = sealed(family, request(family), &ticket(KIND_RELEASED, SERVER));
    Case::new(
        "a request that stays goes back to the server that released it",
        own.frame(),
        TX,
        [MoveReleased],
    )
    .with_filter(Filter { flags: flag::FOLLOWED | flag::FURTHER, ..moving(family) })
    .check(move |outcome| {
        let (after, found) = opened(family, &outcome.after);
        assert_eq!((after.destination_mac, found), (SERVER_MAC, ticket(KIND_HAND_OFF, 0)));
        assert_eq!(outcome.filter.unwrap(), Filter { server: SERVER, ..moved(family) });
    })
}

/// Released requests that are not the latest one, or were answered, or come at the wrong moment.
fn stale(family: Family) -> Vec<Case> {
    let dropped = |name, filter: Filter| {
        Case::new(name, released(family).frame(), DROP, [MoveStaleDropped])
            .with_filter(filter)
            .check(move |outcome| assert_eq!(outcome.filter.unwrap(), filter))
    };
    let (waiting, done) = (moving(family), moved(family));
    let next = SEQ.wrapping_add(HEAD.len() as u32);
    vec![
        dropped("another request came after it", Filter { handoff_seq: next, ..waiting }),
        dropped("it was for another server", Filter { move_to: SERVER, ..waiting }),
        dropped("it stayed", Filter { flags: flag::FOLLOWED | flag::FURTHER, ..waiting }),
        dropped(
            "it was handed over, and the next one is with the slow path",
            Filter { flags: flag::ASKED, ..done },
        ),
        dropped("it has a response", Filter { flags: flag::FOLLOWED | flag::RESPONDED, ..done }),
        Case::new(
            "the next one is with the slow path: the client repeats this one",
            released(family).frame(),
            DROP,
            [MoveStaleDropped],
        )
        .with_filter(Filter { flags: flag::ASKED | flag::FURTHER | flag::MOVING, ..waiting })
        .check(move |outcome| {
            assert_eq!(outcome.filter.unwrap(), Filter { flags: flag::ASKED, ..moved(family) })
        }),
    ]
}

/// Went to the server that has the flow, unchanged.
fn is_forwarded(filter: Filter) -> impl Fn(&Outcome) {
    move |outcome| {
        assert_eq!(outcome.after[..12], [SERVER_MAC, FRONT_MAC].concat());
        assert_eq!(outcome.after[12..], outcome.before[12..]);
        assert_eq!(outcome.traffic, Traffic { packets: 1, bytes: outcome.after.len() as u64 });
        assert_eq!(outcome.filter.unwrap(), filter);
    }
}

fn bounced(family: Family) -> Vec<Case> {
    let forwarded = |name, kind, filter: Filter| {
        let segment = sealed(family, request(family), &ticket(kind, OTHER));
        Case::new(name, segment.frame(), TX, [ReturnedForwarded])
            .with_filter(filter)
            .check(is_forwarded(filter))
    };
    let unknown = Case::new(
        "one of a flow that is not known",
        sealed(family, request(family), &ticket(KIND_MOVE, OTHER)).frame(),
        DROP,
        [ReturnedUnknownDropped],
    );
    vec![
        forwarded("a request that came back", KIND_BOOKS, established(family)),
        forwarded("one for another server", KIND_MOVE, moving(family)),
        forwarded("one of a flow that ends", KIND_MOVE, filter(family, state::CLOSING)),
        unknown,
        Case::new("so a released one", released(family).frame(), DROP, [ReturnedUnknownDropped]),
        Case::new("or one that no server has", released(family).frame(), DROP, [ReturnedUnknownDropped])
            .with_filter(filter(family, state::PENDING)),
    ]
}

/// Tickets that do not come from a server.
fn foreign(family: Family) -> Vec<Case> {
    let dropped = |name, segment: Segment| {
        Case::new(name, segment.frame(), DROP, [ForeignTicketDropped])
            .with_filter(moving(family))
            .check(move |outcome| assert_eq!(outcome.filter.unwrap(), moving(family)))
    };
    let ticket = ticket(KIND_RELEASED, OTHER);
    let other_key = SipKey { k0: TICKET_KEY.k0 + 1, ..TICKET_KEY };
    let mut elsewhere = released(family);
    elsewhere.seq = elsewhere.seq.wrapping_add(1);
    let mut changed = released(family);
    changed.options[11] ^= 1;
    let mut syn = released(family);
    syn.flags |= SYN;
    vec![
        dropped("under another secret", sealed_by(&other_key, EPOCH, family, request(family), &ticket)),
        dropped(
            "of another time",
            sealed_by(&TICKET_KEY, Epoch(EPOCH.0 - 2), family, request(family), &ticket),
        ),
        dropped("for another segment", elsewhere),
        dropped("for another server than it was made for", changed),
        dropped("half of a ticket", request(family).with_options(&released(family).options[..8])),
        dropped("on a SYN", syn),
        dropped("a hand-off", sealed(family, request(family), &Ticket { kind: KIND_HAND_OFF, ..ticket })),
    ]
}

/// What comes in by the interface of the servers.
fn inner(family: Family) -> Vec<Case> {
    let open = established(family);
    let case = |name, segment: &Segment, action, counter: FrontCounter| {
        Case::new(name, segment.frame(), action, [counter]).in_world(World::TwoArm).by_program("inner")
    };
    let plain = |name, segment: &Segment, filter: Filter| {
        case(name, segment, REDIRECT, ReturnedForwarded).with_filter(filter).check(is_forwarded(filter))
    };
    let passed = |name, segment: &Segment| case(name, segment, PASS, OtherPassed);
    let returned = request(family);
    let mut fin = request(family).with_payload(b"");
    fin.flags |= FIN;
    let mut elsewhere = request(family);
    elsewhere.destination_port = 81;
    let mut syn = request(family).with_payload(b"");
    syn.flags = SYN;
    let mut malformed = returned.frame();
    malformed[family.payload_offset() + 12] = 0x40;
    vec![
        plain("a segment without a ticket", &returned, open),
        plain("an end without a ticket", &fin, filter(family, state::CLOSING)),
        passed("a segment of no flow", &returned),
        passed("one of a flow that no server has", &returned).with_filter(filter(family, state::ANSWERED)),
        passed("a segment for another port", &elsewhere),
        passed("a SYN", &syn).with_filter(open),
        Case::new("a segment that is malformed", malformed, DROP, [MalformedDropped]).by_program("inner"),
        Case::new("another protocol", vec![8; 60], PASS, [OtherPassed]).by_program("inner"),
        case(
            "a forged ticket",
            &sealed_by(&SipKey::default(), EPOCH, family, request(family), &ticket(KIND_RELEASED, OTHER)),
            DROP,
            ForeignTicketDropped,
        )
        .with_filter(moving(family)),
    ]
}

#[test]
fn what_servers_send_back_goes_to_the_server_that_has_the_flow() {
    table::run(cases);
}

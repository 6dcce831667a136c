//! Flows with a filter: forwarding, the hand-off again, closing, and flows that we answered ourselves.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, flag, state},
    path_state::PathState,
    server::Traffic,
    slow_path::{SlowPathMeta, kind},
    ticket::{self, KIND_HAND_OFF, Ticket},
};

use crate::{
    program::{EPOCH, PRIORITY, SERVER, SERVER_MAC, TICKET_KEY, service_id},
    segment::{ACK, FIN, FRONT_MAC, Family, RST, Segment},
    table::{
        self, CLASS, Case, DROP, ISN, Outcome, REDIRECT, TX, World, established, filter, good_ack, options,
    },
    unknown::is_reset,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Two SACK blocks beside timestamps: 32 bytes.
const CROWDED: [u8; 32] =
    [1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 66, 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
/// One SACK block beside timestamps: 24 bytes, the most that leaves room for a ticket.
const FULL: [u8; 24] = [1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 66, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// A segment in mid-flow, some way behind the hand-off.
fn segment(family: Family, flags: u8, payload: &[u8]) -> Segment {
    let ack = good_ack(family).wrapping_add(5_000);
    Segment::of_client(family, flags, ISN.wrapping_add(500), ack).with_timestamps().with_payload(payload)
}

fn handoff(family: Family) -> Segment {
    Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family)).with_payload(REQUEST)
}

/// Only the link-layer addresses changed, and everything was counted.
fn forwarded(outcome: &Outcome) {
    assert_eq!(outcome.after[..12], [SERVER_MAC, FRONT_MAC].concat());
    assert_eq!(outcome.after[12..], outcome.before[12..]);
    assert_eq!(outcome.traffic, Traffic { packets: 1, bytes: outcome.after.len() as u64 });
    let filter = outcome.filter.expect("the filter stays");
    assert_eq!((filter.packets, filter.bytes), (11, 1_000 + outcome.before.len() as u64));
    assert!(filter.last_seen_ns > 1);
}

fn forward(name: &'static str, filter: Filter, segment: Segment, state: u8) -> Case {
    Case::new(name, segment.frame(), TX, [FrontCounter::Forwarded]).with_filter(filter).check(
        move |outcome| {
            forwarded(outcome);
            assert_eq!(outcome.filter.unwrap().state, state);
        },
    )
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = forwarding(family);
    cases.extend(responses(family));
    cases.extend(handoffs(family));
    cases.extend(answered(family));
    cases
}

fn forwarding(family: Family) -> Vec<Case> {
    let open = established(family);
    let closing = filter(family, state::CLOSING);
    let unusable = |world| {
        Case::new(
            "a server that cannot be reached",
            segment(family, ACK, b"x").frame(),
            DROP,
            [FrontCounter::ServerUnusableDropped],
        )
        .with_filter(open)
        .in_world(world)
        .check(|outcome| assert_eq!(outcome.traffic, Traffic::default()))
    };
    let mut nowhere = unusable(World::Usual);
    nowhere.filter = Some(Filter { server: u16::MAX, ..open });
    vec![
        forward("data goes to the server", open, segment(family, ACK, b"data"), state::ESTABLISHED),
        forward("so does an ACK", open, segment(family, ACK, b""), state::ESTABLISHED),
        forward("so does a full segment", open, segment(family, ACK, &[9; 1400]), state::ESTABLISHED),
        forward("a FIN closes and goes on", open, segment(family, FIN | ACK, b""), state::CLOSING),
        forward("a RST closes and goes on", open, segment(family, RST, b""), state::CLOSING),
        forward("closing flows go on", closing, segment(family, ACK, b""), state::CLOSING),
        Case::new(
            "servers behind another interface are reached by a redirect",
            segment(family, ACK, b"data").frame(),
            REDIRECT,
            [FrontCounter::Forwarded],
        )
        .with_filter(open)
        .in_world(World::TwoArm)
        .check(|outcome| {
            let link = [SERVER_MAC, FRONT_MAC].concat();
            assert_eq!(outcome.after[..12], link);
            forwarded(outcome);
        }),
        unusable(World::ServerWithoutMac),
        unusable(World::TwoArmWithoutOut),
        nowhere,
    ]
}

fn responses(family: Family) -> Vec<Case> {
    let open = established(family);
    let response = |name, filter: Filter, ack_ahead: u32, moved: bool| {
        let mut segment = segment(family, ACK, b"");
        segment.ack = good_ack(family).wrapping_add(ack_ahead);
        Case::new(name, segment.frame(), TX, [FrontCounter::Forwarded]).with_filter(filter).check(
            move |outcome| {
                let after = outcome.filter.unwrap();
                assert_eq!(after.response_ns != filter.response_ns, moved);
                assert!(!moved || after.response_ns == after.last_seen_ns);
            },
        )
    };
    vec![
        response("the first ACK that moves is the response", open, 1, true),
        response("one that does not move is not", open, 0, false),
        response("nor one that moves back", open, u32::MAX, false),
        response(
            "the response comes once",
            Filter { response_ns: 5, flags: flag::RESPONDED, ..open },
            900,
            false,
        ),
    ]
}

/// The hand-off with a ticket in it, everything else unchanged.
fn ticketed(family: Family, sent: Segment, timestamps: bool) -> impl Fn(&Outcome) {
    move |outcome| {
        let out = outcome.segment();
        let (option, rest) = out.options.split_at(16);
        let word = |at: usize| u32::from_ne_bytes(option[at..at + 4].try_into().unwrap());
        let words = [word(0), word(4), word(8), word(12)];
        let tuple = family.tuple();
        let place = ticket::Segment { tuple: &tuple, seq: sent.seq, ack: sent.ack };
        let expected = Ticket {
            kind: KIND_HAND_OFF,
            options: options(),
            priority: PRIORITY,
            timestamps,
            followed: false,
            number: 0,
            class: CLASS,
            server: 0,
            path: PathState::UNKNOWN,
        };
        assert_eq!(Ticket::open(&words, &TICKET_KEY, &place, EPOCH), Ok(expected));
        assert_eq!((out.destination_mac, out.source_mac), (SERVER_MAC, FRONT_MAC));
        let unchanged = Segment {
            destination_mac: sent.destination_mac,
            source_mac: sent.source_mac,
            options: rest.to_vec(),
            ..out.clone()
        };
        assert_eq!(unchanged, sent);
        assert_eq!(outcome.after.len(), outcome.before.len() + 16);
        assert_eq!(outcome.traffic, Traffic { packets: 1, bytes: outcome.after.len() as u64 });
    }
}

fn handoffs(family: Family) -> Vec<Case> {
    let open = established(family);
    let repeated = |name, segment: Segment, timestamps| {
        Case::new(name, segment.frame(), TX, [FrontCounter::HandoffRepeated])
            .with_filter(open)
            .check(ticketed(family, segment, timestamps))
    };
    let again = handoff(family);
    let short = handoff(family).with_payload(b"G");
    let mut probe = handoff(family).with_payload(b"");
    probe.seq = ISN;
    let mut late = handoff(family);
    late.ack = late.ack.wrapping_add(3_000);
    let mut cases = vec![
        repeated("the hand-off again carries a ticket", again.clone(), false),
        repeated("so with timestamps", again.clone().with_timestamps(), true),
        repeated("so with all options that leave room", again.clone().with_options(&FULL), true),
        repeated("so with a full segment", again.clone().with_payload(&[9; 1444]), false),
        repeated("so with Ethernet padding", short, false),
        forward(
            "an ACK at the hand-off is none",
            open,
            handoff(family).with_payload(b""),
            state::ESTABLISHED,
        ),
        forward("nor is a keep-alive probe", open, probe, state::ESTABLISHED),
        forward("nor one that has seen a response", open, late, state::ESTABLISHED),
        forward(
            "nor one after a response",
            Filter { response_ns: 5, flags: flag::RESPONDED, ..open },
            again.clone(),
            state::ESTABLISHED,
        ),
        Case::new(
            "the hand-off again in two-arm mode",
            again.frame(),
            REDIRECT,
            [FrontCounter::HandoffRepeated],
        )
        .with_filter(open)
        .in_world(World::TwoArm)
        .check(ticketed(family, again.clone(), false)),
    ];
    cases.extend(crowded_handoffs(family));
    cases
}

fn crowded_handoffs(family: Family) -> Vec<Case> {
    let open = established(family);
    let crowded = handoff(family).with_options(&CROWDED);
    let meta = SlowPathMeta {
        kind: kind::RETICKET,
        options: options().0,
        service: service_id(family),
        server: SERVER,
        class: CLASS,
    };
    vec![
        Case::new(
            "the hand-off again without room for a ticket takes the slow path",
            crowded.frame(),
            REDIRECT,
            [FrontCounter::HandoffRepeatedSlow],
        )
        .with_filter(open)
        .check(move |outcome| {
            outcome.assert_untouched();
            assert_eq!(outcome.meta, Some(meta));
        }),
        Case::new(
            "or nothing when nobody listens",
            crowded.frame(),
            DROP,
            [FrontCounter::SlowPathAbsentDropped],
        )
        .with_filter(open)
        .in_world(World::NoSlowPath),
        Case::new(
            "a ticket needs headroom",
            handoff(family).frame(),
            DROP,
            [FrontCounter::NoHeadroomDropped],
        )
        .with_filter(open)
        .in_world(World::NoHeadroom),
    ]
}

fn answered(family: Family) -> Vec<Case> {
    let ours = filter(family, state::ANSWERED);
    let dropped = |name, segment: Segment, stays: bool| {
        Case::new(name, segment.frame(), DROP, [FrontCounter::AnsweredDropped])
            .with_filter(ours)
            .check(move |outcome| assert_eq!(outcome.filter.is_some(), stays))
    };
    let fin = segment(family, FIN | ACK, b"");
    vec![
        dropped("an ACK of our answer is dropped", segment(family, ACK, b""), true),
        dropped("so is data after it", segment(family, ACK, b"more"), true),
        dropped("a RST after our answer ends the flow", segment(family, RST, b""), false),
        dropped("a bare FIN is not answered", segment(family, FIN, b""), true),
        Case::new("a FIN after our answer is reset", fin.frame(), TX, [FrontCounter::AnsweredReset])
            .with_filter(ours)
            .check(is_reset(family, fin.ack)),
    ]
}

#[test]
fn known_flows_go_to_their_server() {
    table::run(cases);
}

//! A new connection on the port of one that has a filter: a noted SYN and a good cookie replace it, nothing less does.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, flag, state},
    slow_path::kind,
};

use crate::{
    program::SERVER_MAC,
    segment::{ACK, FIN, Family, Segment},
    table::{self, Case, DROP, ISN, REDIRECT, TX, World, filter, good_ack},
    unknown::is_reset,
};

/// A filter of an older connection that has noted our client's new ISN.
fn noted(family: Family, state: u8) -> Filter {
    Filter {
        handoff_seq: 5_000,
        handoff_ack: 6_000,
        noted_isn: ISN,
        flags: flag::SYN_NOTED,
        ..filter(family, state)
    }
}

fn first(family: Family, flags: u8, payload: &[u8]) -> Segment {
    Segment::of_client(family, flags, ISN.wrapping_add(1), good_ack(family)).with_payload(payload)
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let request = first(family, ACK, b"GET / HTTP/1.1\r\n\r\n");
    let mut cases: Vec<Case> = [state::PENDING, state::ESTABLISHED, state::CLOSING, state::ANSWERED]
        .map(|state| replaced(family, state, &request))
        .into();
    cases.extend(not_yet(family));
    cases.extend(refused(family, &request));
    cases
}

fn replaced(family: Family, state: u8, request: &Segment) -> Case {
    Case::new(
        "a request of the noted connection replaces the filter",
        request.frame(),
        REDIRECT,
        [FrontCounter::FilterReplaced, FrontCounter::RequestFirst],
    )
    .with_filter(noted(family, state))
    .check(|outcome| {
        assert_eq!(outcome.meta.unwrap().kind, kind::FIRST);
        let after = outcome.filter.unwrap();
        assert_eq!((after.state, after.packets, after.flags), (state::PENDING, 1, 0));
        assert_eq!(after.handoff_seq, ISN.wrapping_add(1));
    })
}

/// The new connection without data: its handshake goes on beside the old filter.
fn not_yet(family: Family) -> Vec<Case> {
    let old = noted(family, state::ESTABLISHED);
    let mut probe = first(family, ACK, b"");
    probe.seq = ISN;
    let fin = first(family, FIN | ACK, b"");
    let stays = move |outcome: &table::Outcome| assert_eq!(outcome.filter, Some(old));
    vec![
        Case::new(
            "the ACK of the noted handshake leaves the filter",
            first(family, ACK, b"").frame(),
            DROP,
            [FrontCounter::HandshakeCompleted],
        )
        .with_filter(old)
        .check(stays),
        Case::new("a probe on it is answered", probe.frame(), TX, [FrontCounter::ProbeAnswered])
            .with_filter(old)
            .check(stays),
        Case::new("a FIN on it is reset", fin.frame(), TX, [FrontCounter::FreshFinReset])
            .with_filter(old)
            .check(is_reset(family, fin.ack)),
        Case::new(
            "without a slow path the old filter is gone and the client repeats",
            first(family, ACK, b"GET").frame(),
            DROP,
            [FrontCounter::FilterReplaced, FrontCounter::SlowPathAbsentDropped],
        )
        .with_filter(old)
        .in_world(World::NoSlowPath)
        .check(|outcome| assert_eq!(outcome.filter, None)),
    ]
}

fn refused(family: Family, request: &Segment) -> Vec<Case> {
    let mut forged = request.clone();
    forged.ack ^= 1 << 20;
    let mut elsewhere = request.clone();
    elsewhere.seq = elsewhere.seq.wrapping_add(1);
    let old = |name, segment: &Segment| {
        Case::new(name, segment.frame(), TX, [FrontCounter::Forwarded])
            .with_filter(noted(family, state::ESTABLISHED))
            .check(|outcome| {
                assert_eq!(outcome.after[..6], SERVER_MAC);
                assert_eq!(outcome.filter.unwrap().flags & flag::SYN_NOTED, flag::SYN_NOTED);
            })
    };
    vec![
        old("a bad cookie at the noted ISN is the old flow's", &forged),
        old("another sequence number is the old flow's", &elsewhere),
    ]
}

#[test]
fn a_noted_connection_takes_over_with_a_good_cookie() {
    table::run(cases);
}

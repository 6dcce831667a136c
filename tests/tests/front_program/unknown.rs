//! Flows without a filter and without a request: the end of a handshake, probes, and what is not ours.

use dispatcher_common::{counter::FrontCounter, epoch::Epoch, syn_options::SynOptions};

use crate::{
    program::{EPOCH, cookie_of},
    segment::{ACK, CLIENT_MAC, FIN, FRONT_MAC, Family, PORT, RST, Segment},
    table::{self, Case, DROP, ISN, Outcome, TX, good_ack, options},
};

const SACK: [u8; 12] = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];

fn first(family: Family, flags: u8) -> Segment {
    Segment::of_client(family, flags, ISN.wrapping_add(1), good_ack(family))
}

/// An exact RST (RFC 9293 section 3.10.7.1).
pub(crate) fn is_reset(family: Family, ack: u32) -> impl Fn(&Outcome) {
    move |outcome| {
        let reply = outcome.segment();
        assert_eq!(outcome.after.len(), family.payload_offset() + 20, "frame length");
        assert_eq!((reply.flags, reply.seq, reply.ack, reply.window), (RST, ack, 0, 0));
        check_ends(family, outcome, &reply);
    }
}

pub(crate) fn check_ends(family: Family, outcome: &Outcome, reply: &Segment) {
    let client_port = Segment::read(&outcome.before).source_port;
    assert_eq!((reply.destination_mac, reply.source_mac), (CLIENT_MAC, FRONT_MAC));
    assert_eq!((reply.source, reply.destination), (family.vip(), family.client()));
    assert_eq!((reply.source_port, reply.destination_port), (PORT, client_port));
    assert_eq!((reply.hop_limit, reply.payload.len()), (64, 0));
}

fn probe_answer(family: Family, seq: u32, window: u16, timestamps: bool) -> impl Fn(&Outcome) {
    move |outcome| {
        let reply = outcome.segment();
        assert_eq!((reply.flags, reply.seq, reply.window), (ACK, seq, window));
        assert_eq!(reply.ack, ISN.wrapping_add(1));
        check_ends(family, outcome, &reply);
        if timestamps {
            assert_eq!((&reply.options[..4], &reply.options[8..]), (&[1, 1, 8, 10][..], &[0, 0, 0, 77][..]));
        } else {
            assert!(reply.options.is_empty());
        }
    }
}

fn silent(name: &'static str, segment: Segment, counter: FrontCounter) -> Case {
    Case::new(name, segment.frame(), DROP, [counter]).check(|outcome| assert_eq!(outcome.filter, None))
}

fn reset(family: Family, name: &'static str, segment: Segment, counter: FrontCounter) -> Case {
    Case::new(name, segment.frame(), TX, [counter]).check(is_reset(family, segment.ack))
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = fresh(family);
    cases.extend(probes(family));
    cases.extend(foreign(family));
    cases
}

fn fresh(family: Family) -> Vec<Case> {
    let mut later = first(family, ACK).with_payload(b"later");
    later.seq = later.seq.wrapping_add(1400);
    let mut later_fin = first(family, FIN | ACK);
    later_fin.seq = later_fin.seq.wrapping_add(1400);
    let mut later_ack = first(family, ACK);
    later_ack.seq = later_ack.seq.wrapping_add(1400);
    let mut previous = first(family, ACK);
    previous.ack = cookie_of(family, options(), ISN, EPOCH.previous()).wrapping_add(1);
    vec![
        silent("the ACK of a handshake needs nothing", first(family, ACK), FrontCounter::HandshakeCompleted),
        silent("so with timestamps", first(family, ACK).with_timestamps(), FrontCounter::HandshakeCompleted),
        silent("and with a cookie of the last epoch", previous, FrontCounter::HandshakeCompleted),
        silent("a late second segment is dropped without a reset", later, FrontCounter::EarlySegmentDropped),
        silent("so is a FIN behind a lost request", later_fin, FrontCounter::EarlySegmentDropped),
        silent(
            "so is an ACK behind a lost request: a copy of our SYN-ACK draws it",
            later_ack,
            FrontCounter::EarlySegmentDropped,
        ),
        reset(
            family,
            "a client that closes without a request is reset",
            first(family, FIN | ACK),
            FrontCounter::FreshFinReset,
        ),
    ]
}

fn probes(family: Family) -> Vec<Case> {
    let mut probe = first(family, ACK);
    probe.seq = ISN;
    let answered = |name, segment: &Segment, window, timestamps| {
        Case::new(name, segment.frame(), TX, [FrontCounter::ProbeAnswered]).check(probe_answer(
            family,
            segment.ack,
            window,
            timestamps,
        ))
    };
    let unscaled_options = SynOptions::new(1460, None, true);
    let mut unscaled = probe.clone();
    unscaled.ack = cookie_of(family, unscaled_options, ISN, EPOCH).wrapping_add(1);
    let mut two_bytes = probe.clone().with_payload(b"xy");
    two_bytes.flags |= FIN;
    vec![
        answered("a keep-alive probe is answered", &probe, 501, false),
        answered("with timestamps if it has them", &probe.clone().with_timestamps(), 501, true),
        answered("and without other options", &probe.clone().with_options(&SACK), 501, false),
        answered("a probe with a byte of garbage is answered", &probe.clone().with_payload(b"x"), 501, false),
        answered("the window is not scaled if the client's is not", &unscaled, 64_240, false),
        silent("more than a byte is no probe", two_bytes, FrontCounter::EarlySegmentDropped),
    ]
}

fn foreign(family: Family) -> Vec<Case> {
    let with_cookie_of = |epoch: Epoch| {
        let mut segment = first(family, ACK).with_payload(b"GET / HTTP/1.1\r\n\r\n");
        segment.ack = cookie_of(family, options(), ISN, epoch).wrapping_add(1);
        segment
    };
    let mut forged = with_cookie_of(EPOCH);
    forged.ack ^= 1 << 4;
    let mut other_options = with_cookie_of(EPOCH);
    other_options.ack ^= 1 << 25;
    let mut other_port = with_cookie_of(EPOCH);
    other_port.source_port += 1;
    let mut bare = first(family, ACK);
    bare.ack ^= 1 << 4;
    let mut fin = first(family, FIN | ACK);
    fin.ack ^= 1 << 4;
    let mut forgotten = with_cookie_of(EPOCH);
    (forgotten.seq, forgotten.ack) = (forgotten.seq.wrapping_add(40), forgotten.ack.wrapping_add(200));
    let refused = |name, segment| reset(family, name, segment, FrontCounter::CookieRefused);
    vec![
        refused("data with a forged cookie is reset", forged),
        refused("data with another's options is reset", other_options),
        refused("data of a flow that has had a response and is forgotten is reset", forgotten),
        refused("data with the cookie of another port is reset", other_port),
        refused("data with an expired cookie is reset", with_cookie_of(Epoch(EPOCH.0 - 2))),
        refused("data with a cookie of the future is reset", with_cookie_of(Epoch(EPOCH.0 + 1))),
        reset(family, "an ACK of nothing is reset", bare, FrontCounter::UnknownReset),
        reset(family, "a FIN of nothing is reset", fin, FrontCounter::UnknownReset),
        silent("a RST is never answered", first(family, RST | ACK), FrontCounter::UnknownRstDropped),
        silent("nor one without ACK", first(family, RST), FrontCounter::UnknownRstDropped),
        silent(
            "a segment without ACK is malformed",
            first(family, 0).with_payload(b"x"),
            FrontCounter::MalformedDropped,
        ),
        silent("a bare FIN is malformed", first(family, FIN), FrontCounter::MalformedDropped),
    ]
}

#[test]
fn flows_without_a_filter_are_judged_by_their_cookie() {
    table::run(cases);
}

//! What never reaches the kernel: bad, old and replayed tickets, segments that have nowhere to go, handshakes and impossible
//! packets. None is answered: a RST would end a connection whose first segment is late.

use dispatcher_common::{
    counter::BackCounter as Counter,
    siphash::SipKey,
    ticket::{KIND_RELEASED, Ticket},
};

use crate::{
    connection::{
        CLASS, NEXT_SEQ, assert_nobody, close_into_time_wait, connect, hand_off, listen, respond, segment,
    },
    frame::{self, ACK, FIN, KEY, RST, SYN, Segment},
    lab::Lab,
    scenario::{self, Scenario},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "tickets that are not ours", counters: &[Counter::TicketBad], play: bad },
    Scenario { name: "tickets of another time", counters: &[Counter::TicketExpired], play: expired },
    Scenario {
        name: "the ticket of a connection that was reset",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::RstPassed,
            Counter::TicketReplayed,
        ],
        play: replayed,
    },
    Scenario {
        name: "the ticket of a connection in TIME_WAIT",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::TicketReplayed],
        play: replayed_in_time_wait,
    },
    Scenario {
        name: "segments without a ticket when there is only the listener",
        counters: &[Counter::NoTicketDropped],
        play: only_listener,
    },
    Scenario {
        name: "segments without a ticket when there is nothing",
        counters: &[Counter::NoTicketDropped],
        play: nothing,
    },
    Scenario { name: "handshakes", counters: &[Counter::SynDropped], play: syn },
    Scenario { name: "impossible lengths", counters: &[Counter::MalformedDropped], play: lengths },
    Scenario { name: "headers between IP and TCP", counters: &[Counter::MalformedDropped], play: hidden },
];

/// Sends segments that move a counter and nothing else.
fn refuse(lab: &mut Lab, counter: Counter, segments: &[Segment]) {
    let listener = listen(lab);
    for segment in segments {
        lab.send(segment);
        lab.expect(counter);
    }
    assert_nobody(&listener);
    lab.assert_no_answer(|_| true);
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (0, 0));
}

fn bad(lab: &mut Lab) {
    let forged = hand_off(lab).sealed(SipKey { k0: KEY.k0, k1: KEY.k1 ^ 1 }, 0);
    // Sixteen epochs: the ticket's four bits are those of now.
    let old = hand_off(lab).sealed(KEY, 16);
    // What only front-ends get, and what nobody sends.
    let [released, unknown] =
        [KIND_RELEASED, 5].map(|kind| hand_off(lab).ticket(Ticket { kind, ..frame::ticket(CLASS) }));
    refuse(lab, Counter::TicketBad, &[forged, old, released, unknown]);
}

fn expired(lab: &mut Lab) {
    let segments = [3, 9].map(|age| hand_off(lab).sealed(KEY, age));
    refuse(lab, Counter::TicketExpired, &segments);
}

fn replayed(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&segment(lab).flags(RST).at(NEXT_SEQ, 0));
    lab.expect(Counter::RstPassed);
    lab.send(&hand_off(lab));
    lab.expect(Counter::TicketReplayed);
    assert_nobody(&listener);
}

fn replayed_in_time_wait(lab: &mut Lab) {
    let listener = listen(lab);
    close_into_time_wait(lab, &listener);
    lab.send(&hand_off(lab));
    lab.expect(Counter::TicketReplayed);
    assert_nobody(&listener);
}

fn ticketless(lab: &Lab) -> [Segment; 4] {
    let other_option = segment(lab).options(&[253, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    [segment(lab), segment(lab).payload(b"x"), segment(lab).flags(FIN | ACK), other_option]
}

fn only_listener(lab: &mut Lab) {
    refuse(lab, Counter::NoTicketDropped, &ticketless(lab));
}

fn nothing(lab: &mut Lab) {
    for segment in ticketless(lab) {
        lab.send(&segment);
        lab.expect(Counter::NoTicketDropped);
    }
    lab.assert_no_answer(|_| true);
}

fn syn(lab: &mut Lab) {
    let segments = [segment(lab).flags(SYN), segment(lab).flags(SYN | ACK), hand_off(lab).flags(SYN)];
    refuse(lab, Counter::SynDropped, &segments);
}

/// A hand-off with some bytes of its frame changed.
fn patched(lab: &Lab, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = hand_off(lab).frame();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn refuse_frames(lab: &mut Lab, frames: &[Vec<u8>]) {
    for frame in frames {
        lab.send_frame(frame);
        lab.expect(Counter::MalformedDropped);
    }
    lab.assert_no_answer(|_| true);
}

fn lengths(lab: &mut Lab) {
    // IPv4 counts its own header.
    let (len_at, header_len, tcp) = if lab.vip.is_ipv4() { (16, 20, 34) } else { (18, 0, 54) };
    let frames = [
        patched(lab, tcp + 12, &[0x40]),
        patched(lab, len_at, &[0, header_len + 30]),
        patched(lab, len_at, &[4, 0]),
    ];
    refuse_frames(lab, &frames);
}

fn hidden(lab: &mut Lab) {
    let (ip, len) = (14, if lab.vip.is_ipv4() { 20 } else { 40 });
    let hide = |header: &[u8], change: fn(&mut [u8])| {
        let mut frame = hand_off(lab).frame();
        change(&mut frame[ip..]);
        frame.splice(ip + len..ip + len, header.iter().copied());
        frame
    };
    let frames = if lab.vip.is_ipv4() {
        vec![hide(&[1, 1, 1, 1], |ip| ip[0] = 0x46), hide(&[], |ip| ip[6] = 0x20)]
    } else {
        vec![
            hide(&[6, 0, 1, 4, 0, 0, 0, 0], |ip| ip[6] = 0),
            hide(&[6, 0, 1, 4, 0, 0, 0, 0], |ip| ip[6] = 60),
            hide(&[6, 0, 0, 1, 0, 0, 0, 9], |ip| ip[6] = 44),
        ]
    };
    refuse_frames(lab, &frames);
}

#[test]
fn what_has_no_place_is_dropped_without_an_answer() {
    scenario::run("dropped", SCENARIOS);
}

//! Segments without a ticket of connections that are there, and what is not of a service: to the kernel, untouched.

use std::io::{ErrorKind, Read};

use dispatcher_common::counter::BackCounter as Counter;

use crate::{
    connection::{
        CLASS, NEXT_ACK, NEXT_SEQ, close_into_time_wait, connect, finish, hand_off, listen, receive, respond,
        segment,
    },
    frame::{ACK, FIN, RST},
    lab::Lab,
    scenario::{self, Scenario},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "more of a request reaches its socket",
        counters: &[Counter::HandoffAccepted, Counter::SegmentPassed],
        play: more,
    },
    Scenario {
        name: "a FIN reaches its socket",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::SegmentPassed],
        play: fin,
    },
    Scenario {
        name: "a FIN again is answered by TIME_WAIT",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::SegmentPassed],
        play: time_wait,
    },
    Scenario {
        name: "a RST reaches its socket and the request is given up",
        counters: &[Counter::HandoffAccepted, Counter::RstPassed],
        play: reset,
    },
    Scenario {
        name: "a RST passes before anything else, ticket or not",
        counters: &[Counter::RstPassed],
        play: reset_with_ticket,
    },
    Scenario {
        name: "another port of the VIP is the kernel's",
        counters: &[Counter::OtherPassed],
        play: other_port,
    },
];

fn more(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    lab.send(&segment(lab).at(NEXT_SEQ, 5000).payload(b"rest"));
    lab.expect_some(Counter::SegmentPassed);
    receive(&mut stream, b"rest");
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (1, 1));
}

fn fin(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    finish(lab);
    lab.expect_some(Counter::SegmentPassed);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    lab.answer(|answer| answer.ack == NEXT_SEQ + 1);
}

fn time_wait(lab: &mut Lab) {
    let listener = listen(lab);
    close_into_time_wait(lab, &listener);
    lab.answer(|answer| answer.ack == NEXT_SEQ + 1);
    lab.send(&segment(lab).flags(FIN | ACK).at(NEXT_SEQ, NEXT_ACK + 1));
    lab.expect_some(Counter::SegmentPassed);
    lab.answer(|answer| answer.ack == NEXT_SEQ + 1);
}

fn reset(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    lab.send(&segment(lab).flags(RST).at(NEXT_SEQ, 0));
    lab.expect(Counter::RstPassed);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let stats = lab.class(CLASS);
    assert_eq!((stats.arrived, stats.answered, stats.abandoned, lab.held()), (1, 0, 1, 0));
}

fn reset_with_ticket(lab: &mut Lab) {
    let _listener = listen(lab);
    lab.send(&hand_off(lab).flags(RST | ACK));
    lab.expect(Counter::RstPassed);
}

fn other_port(lab: &mut Lab) {
    let mut other = hand_off(lab);
    other.to.set_port(81);
    lab.send(&other);
    lab.expect_some(Counter::OtherPassed);
    lab.answer(|answer| answer.flags & RST != 0 && answer.seq == other.ack);
}

#[test]
fn segments_of_connections_pass() {
    scenario::run("passed", SCENARIOS);
}

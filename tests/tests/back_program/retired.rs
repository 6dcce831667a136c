//! An old socket in the way of a hand-off from the same port: it is ended, and the new connection begins.

use std::io::{ErrorKind, Read};

use dispatcher_common::{counter::BackCounter as Counter, server::phase};

use crate::{
    connection::{
        CLASS, accept_request, assert_nobody, close_into_time_wait, connect, finish, hand_off, has_state,
        listen, respond,
    },
    frame::Segment,
    lab::{Lab, sysctl},
    scenario::{self, Scenario},
};

const STALE: &[Counter] = &[Counter::HandoffAccepted, Counter::StaleRetired];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a socket in TIME_WAIT makes way",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::TimeWaitRetired],
        play: time_wait,
    },
    Scenario {
        name: "one that cannot be ended is counted and nothing goes round in circles",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::TimeWaitRetired,
            Counter::RetireStuck,
        ],
        play: stuck,
    },
    Scenario { name: "an established socket makes way", counters: STALE, play: established },
    Scenario { name: "so does one that the server forgot", counters: STALE, play: forgotten },
    Scenario {
        name: "so does one whose client has closed",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::StaleRetired],
        play: close_wait,
    },
];

/// A request of a new connection on the same client port.
fn renewed(lab: &Lab) -> Segment {
    hand_off(lab).at(3_000_000_000, 90_000)
}

fn time_wait(lab: &mut Lab) {
    let listener = listen(lab);
    close_into_time_wait(lab, &listener);
    lab.send(&renewed(lab));
    lab.expect(Counter::TimeWaitRetired);
    lab.expect(Counter::HandoffAccepted);
    let _stream = accept_request(lab, &listener, lab.client.port());
    let stats = lab.class(CLASS);
    assert_eq!((stats.arrived, stats.answered, stats.abandoned, lab.held()), (2, 1, 0, 1));
}

/// With this setting a RST does not end TIME_WAIT (RFC 1337).
fn stuck(lab: &mut Lab) {
    sysctl("ipv4/tcp_rfc1337", "1");
    let listener = listen(lab);
    close_into_time_wait(lab, &listener);
    lab.send(&renewed(lab));
    lab.expect(Counter::TimeWaitRetired);
    lab.expect(Counter::RetireStuck);
    assert_nobody(&listener);
    assert!(has_state("06"));
    // What the kernel would say to the new connection is withheld.
    assert_eq!(lab.flow().unwrap().phase, phase::RELEASED);
}

fn established(lab: &mut Lab) {
    stale(lab, |_| ());
}

fn forgotten(lab: &mut Lab) {
    stale(lab, Lab::forget_flow);
}

/// The old connection has a request in hand, of which `before` may make the programs lose track.
fn stale(lab: &mut Lab, before: fn(&mut Lab)) {
    let listener = listen(lab);
    let mut old = connect(lab, &listener);
    before(lab);
    let is_known = lab.flow().is_some();
    lab.send(&renewed(lab));
    lab.expect(Counter::StaleRetired);
    lab.expect(Counter::HandoffAccepted);
    let _stream = accept_request(lab, &listener, lab.client.port());
    assert_eq!(old.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let stats = lab.class(CLASS);
    let abandoned = u64::from(is_known);
    assert_eq!((stats.arrived, stats.abandoned, lab.held()), (2, abandoned, 2 - abandoned));
}

fn close_wait(lab: &mut Lab) {
    let listener = listen(lab);
    let mut old = connect(lab, &listener);
    respond(lab, &mut old);
    finish(lab);
    lab.wait(|_| has_state("08").then_some(())).expect("a socket in CLOSE_WAIT");
    lab.send(&renewed(lab));
    lab.expect(Counter::StaleRetired);
    lab.expect(Counter::HandoffAccepted);
    let _stream = accept_request(lab, &listener, lab.client.port());
}

#[test]
fn an_old_socket_makes_way_for_a_new_connection() {
    scenario::run("retired", SCENARIOS);
}

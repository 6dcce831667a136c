//! A good ticket and a listener, or none: connections begin, once each.

use std::net::{SocketAddr, TcpListener};

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::{ServerFlow, phase},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    connection::{CLASS, accept_request, assert_nobody, connect, hand_off, listen, respond, segment},
    frame::{ACKNOWLEDGED, RST, SEQ},
    lab::{Lab, sysctl},
    scenario::{self, Scenario},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a ticket becomes an accepted connection",
        counters: &[Counter::HandoffAccepted],
        play: accepted,
    },
    Scenario {
        name: "the same ticket again is passed and counted as no new request",
        counters: &[Counter::HandoffAccepted, Counter::HandoffRepeated, Counter::ResponseStarted],
        play: repeated,
    },
    Scenario {
        name: "a connection whose memory was evicted is known by its socket",
        counters: &[Counter::HandoffAccepted, Counter::HandoffRepeated],
        play: forgotten,
    },
    Scenario {
        name: "behind a full accept queue the ticket comes again and counts once",
        counters: &[Counter::HandoffAccepted, Counter::HandoffRepeated],
        play: full_queue,
    },
    Scenario {
        name: "without a listener the kernel resets the client",
        counters: &[Counter::HandoffNoListener],
        play: no_listener,
    },
    Scenario {
        name: "a listener that speaks MPTCP is left alone",
        counters: &[Counter::HandoffMptcpRefused],
        play: mptcp,
    },
    Scenario {
        name: "options that the server's settings forbid are refused by the kernel",
        counters: &[Counter::HandoffRefused],
        play: refused,
    },
];

fn accepted(lab: &mut Lab) {
    let listener = listen(lab);
    let stream = connect(lab, &listener);
    assert_eq!(stream.local_addr().unwrap(), lab.vip);
    let flow = lab.flow().expect("the flow is remembered");
    let expected = ServerFlow {
        handoff_seq: SEQ,
        handoff_ack: ACKNOWLEDGED,
        held_at_arrival: 1,
        class: CLASS,
        phase: phase::WAITING,
        ..flow
    };
    assert_eq!(flow, expected);
    assert!(flow.started_ns > 0 && flow.last_seen_ns == flow.started_ns);
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (1, 1));
}

fn repeated(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffRepeated);
    respond(lab, &mut stream);
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffRepeated);
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (1, 0));
    assert_nobody(&listener);
}

fn forgotten(lab: &mut Lab) {
    let listener = listen(lab);
    let _stream = connect(lab, &listener);
    lab.forget_flow();
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffRepeated);
    assert_nobody(&listener);
}

/// The kernel reports success and drops the segment, so the hand-off counts; the client repeats it.
fn full_queue(lab: &mut Lab) {
    let listener = listener_of(lab.vip, None, 0).unwrap();
    let first = lab.client.port();
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    let second = hand_off(lab).port(first + 1);
    lab.send(&second);
    lab.expect(Counter::HandoffAccepted);
    lab.send(&second);
    lab.expect(Counter::HandoffRepeated);
    let _first = accept_request(lab, &listener, first);
    assert_nobody(&listener);
    lab.send(&second);
    lab.expect(Counter::HandoffRepeated);
    let _second = accept_request(lab, &listener, first + 1);
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (2, 2));
}

fn no_listener(lab: &mut Lab) {
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffNoListener);
    assert_reset(lab);
}

fn mptcp(lab: &mut Lab) {
    let Ok(listener) = listener_of(lab.vip, Some(Protocol::MPTCP), 8) else {
        return lab.skip("the kernel has no MPTCP");
    };
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffMptcpRefused);
    assert_reset(lab);
    assert_nobody(&listener);
}

fn refused(lab: &mut Lab) {
    let listener = listen(lab);
    sysctl("ipv4/tcp_sack", "0");
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffRefused);
    assert_reset(lab);
    assert_nobody(&listener);
    assert_eq!(lab.flow(), None);
}

/// The kernel's own RST, which the client takes: the one that it acknowledged.
fn assert_reset(lab: &Lab) {
    let reset = lab.answer(|answer| answer.flags & RST != 0);
    assert_eq!((reset.seq, reset.port), (segment(lab).ack, lab.client.port()));
    assert_eq!((lab.class(CLASS).arrived, lab.held()), (0, 0));
}

fn listener_of(vip: SocketAddr, protocol: Option<Protocol>, backlog: i32) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(vip), Type::STREAM, protocol)?;
    socket.bind(&vip.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[test]
fn a_good_ticket_begins_a_connection_once() {
    scenario::run("hand_off", SCENARIOS);
}

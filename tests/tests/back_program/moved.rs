//! Connections that are free go with the request for another server: the socket ends, the request comes back released, to the
//! byte. And they may come again.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::phase,
    ticket::{KIND_BOOKS, KIND_MOVE, Ticket},
};

use crate::{
    connection::{
        CLASS, NEXT_ACK, NEXT_SEQ, REQUEST, RESPONSE, accept_request, assert_nobody, assert_released,
        connect_and_release, connect_followed, followed_hand_off, further, listen, receive, release, respond,
        segment,
    },
    frame::{ACKNOWLEDGED, RST, SEQ, Segment},
    lab::Lab,
    scenario::{self, Scenario},
};

const MOVED: &[Counter] =
    &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveBegun, Counter::MoveReleased];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a free connection is released", counters: MOVED, play: free },
    Scenario { name: "one without timestamps, too", counters: MOVED, play: without_timestamps },
    Scenario { name: "the request again is released again", counters: MOVED, play: again },
    Scenario { name: "after a body of a known length", counters: MOVED, play: length },
    Scenario { name: "after chunks", counters: MOVED, play: chunks },
    Scenario { name: "after the response to a HEAD", counters: MOVED, play: head },
    Scenario { name: "after an interim response and the final one", counters: MOVED, play: interim },
    Scenario { name: "after two pipelined requests", counters: MOVED, play: pipelined },
    Scenario {
        name: "after a further request that stayed",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveKept,
            Counter::MoveBegun,
            Counter::MoveReleased,
        ],
        play: kept_before,
    },
    Scenario { name: "a connection comes again and goes again", counters: MOVED, play: round_trip },
    Scenario {
        name: "a late copy of the hand-off changes nothing when the connection is here again",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveBegun,
            Counter::MoveReleased,
            Counter::RstPassed,
            Counter::HandoffRepeated,
            Counter::TicketReplayed,
        ],
        play: late_hand_off,
    },
    Scenario {
        name: "a socket that its software is using keeps the request",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveKept,
            Counter::MoveBegun,
            Counter::MoveReleased,
            Counter::RstPassed,
        ],
        play: busy,
    },
    Scenario {
        name: "a new connection on the port of a released one begins",
        counters: MOVED,
        play: new_connection,
    },
];

fn free(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    let request = further(lab, KIND_MOVE);
    release(lab, &request);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_nobody(&listener);
    lab.assert_no_answer(|answer| answer.flags & RST != 0);
    let flow = lab.flow().unwrap();
    assert_eq!((flow.phase, flow.release_seq, flow.next_at), (phase::RELEASED, NEXT_SEQ, NEXT_ACK));
    let stats = lab.class(CLASS);
    assert_eq!((stats.arrived, stats.answered, stats.abandoned, lab.held()), (1, 1, 0, 0));
    assert_eq!(lab.class(CLASS + 1).arrived, 0);
}

fn without_timestamps(lab: &mut Lab) {
    let without = |segment: Segment| {
        let ticket = Ticket { timestamps: false, ..segment.ticket.unwrap() };
        segment.options(&[]).ticket(ticket)
    };
    let listener = listen(lab);
    lab.send(&without(followed_hand_off(lab)));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let request = without(further(lab, KIND_MOVE)).hop_limit(1);
    release(lab, &request);
}

fn again(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    // A front-end that has lost its memory may think that it stays here.
    for kind in [KIND_MOVE, KIND_MOVE, KIND_BOOKS] {
        let request = further(lab, kind);
        lab.send(&request);
        lab.expect(Counter::MoveReleased);
        assert_released(lab, &request);
    }
}

/// Answers a first request in parts, after which the connection is free.
fn moves_after(lab: &mut Lab, request: &[u8], response: &[&[u8]]) {
    let listener = listen(lab);
    lab.send(&followed_hand_off(lab).payload(request));
    lab.expect(Counter::HandoffAccepted);
    let (mut stream, _) = lab.wait(|_| listener.accept().ok()).expect("a connection");
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    receive(&mut stream, request);
    response.iter().for_each(|part| stream.write_all(part).unwrap());
    lab.expect(Counter::ResponseStarted);
    let sent: usize = response.iter().map(|part| part.len()).sum();
    let next = further(lab, KIND_MOVE).at(SEQ + request.len() as u32, ACKNOWLEDGED + sent as u32);
    release(lab, &next);
}

fn length(lab: &mut Lab) {
    let long = [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_vec(), vec![b'x'; 4000]].concat();
    moves_after(lab, REQUEST, &[&long, &[b'x'; 1000]]);
}

fn chunks(lab: &mut Lab) {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    moves_after(lab, REQUEST, &[head, b"3e8\r\n", &[b'x'; 1000], b"\r\n", b"0\r\n\r\n"]);
}

fn head(lab: &mut Lab) {
    let request = b"HEAD / HTTP/1.1\r\nHost: vip\r\n\r\n";
    moves_after(lab, request, &[b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"]);
}

fn interim(lab: &mut Lab) {
    moves_after(lab, REQUEST, &[b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", RESPONSE]);
}

fn pipelined(lab: &mut Lab) {
    let listener = listen(lab);
    lab.send(&followed_hand_off(lab).payload(&REQUEST.repeat(2)));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    receive(&mut stream, REQUEST);
    stream.write_all(&RESPONSE.repeat(2)).unwrap();
    lab.expect_times(Counter::ResponseStarted, 2);
    let (seq, ack) = (NEXT_SEQ + REQUEST.len() as u32, NEXT_ACK + RESPONSE.len() as u32);
    let ticket = Ticket { number: 2, ..further(lab, KIND_MOVE).ticket.unwrap() };
    release(lab, &further(lab, KIND_MOVE).at(seq, ack).ticket(ticket));
}

/// Its client had not acknowledged the response yet.
fn kept_before(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&further(lab, KIND_MOVE).at(NEXT_SEQ, ACKNOWLEDGED));
    lab.expect(Counter::MoveKept);
    receive(&mut stream, REQUEST);
    assert_eq!((lab.class(CLASS + 1).arrived, lab.held()), (1, 1));
    respond(lab, &mut stream);
    let ticket = Ticket { number: 2, ..further(lab, KIND_MOVE).ticket.unwrap() };
    let (seq, ack) = (NEXT_SEQ + REQUEST.len() as u32, NEXT_ACK + RESPONSE.len() as u32);
    release(lab, &further(lab, KIND_MOVE).at(seq, ack).ticket(ticket));
    let stats = lab.class(CLASS + 1);
    assert_eq!((stats.arrived, stats.answered, lab.held()), (1, 1, 0));
}

/// The third request, which another server gives back after it has answered the second.
fn third(lab: &Lab) -> Segment {
    let ticket = Ticket { number: 2, ..followed_hand_off(lab).ticket.unwrap() };
    let (seq, ack) = (NEXT_SEQ + REQUEST.len() as u32, NEXT_ACK + RESPONSE.len() as u32);
    followed_hand_off(lab).at(seq, ack).ticket(ticket)
}

fn round_trip(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    lab.send(&third(lab));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let answer = lab.answer(|answer| answer.payload == RESPONSE && answer.seq == third(lab).ack);
    assert_eq!(answer.ack, third(lab).seq + REQUEST.len() as u32);
    let ticket = Ticket { number: 3, ..further(lab, KIND_MOVE).ticket.unwrap() };
    let (seq, ack) = (answer.ack, answer.seq + RESPONSE.len() as u32);
    release(lab, &further(lab, KIND_MOVE).at(seq, ack).ticket(ticket));
    assert_eq!(lab.flow().unwrap().earlier, [SEQ, SEQ - 1, SEQ - 1, SEQ - 1]);
}

fn late_hand_off(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    lab.send(&followed_hand_off(lab));
    lab.expect(Counter::TicketReplayed);
    lab.send(&third(lab));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    lab.send(&followed_hand_off(lab));
    lab.expect(Counter::HandoffRepeated);
    respond(lab, &mut stream);
    lab.send(&segment(lab).flags(RST).at(third(lab).seq + REQUEST.len() as u32, 0));
    lab.expect(Counter::RstPassed);
    lab.send(&followed_hand_off(lab));
    lab.expect(Counter::TicketReplayed);
    assert_nobody(&listener);
}

fn new_connection(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    lab.send(&followed_hand_off(lab).at(3_000_000_000, 90_000));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let flow = lab.flow().unwrap();
    assert_eq!((flow.phase, flow.handoff_seq, flow.answered), (phase::ANSWERED, 3_000_000_000, 1));
}

/// Its software asks for data all the time. In the middle of a call of its it keeps the request; otherwise it lets go.
fn busy(lab: &mut Lab) {
    let listener = listen(lab);
    listener.set_nonblocking(false).unwrap();
    let (mut kept, mut released) = (0, 0);
    for port in (lab.client.port()..).take(1000) {
        let server = serve_impatiently(&listener);
        lab.send(&followed_hand_off(lab).port(port));
        lab.expect(Counter::HandoffAccepted);
        lab.expect(Counter::ResponseStarted);
        lab.send(&further(lab, KIND_MOVE).port(port));
        if lab.expect_either(Counter::MoveKept, Counter::MoveReleased) == Counter::MoveKept {
            kept += 1;
            lab.send(&segment(lab).flags(RST).at(NEXT_SEQ + REQUEST.len() as u32, 0).port(port));
            lab.expect(Counter::RstPassed);
        } else {
            released += 1;
        }
        server.join().unwrap();
        if kept > 0 && released > 0 {
            break;
        }
    }
    assert!(kept > 0 && released > 0, "{kept} were kept and {released} released");
    lab.expect_some(Counter::MoveBegun);
    lab.disregard(Counter::MoveHeld);
}

/// Answers one connection, and reads until it is reset.
fn serve_impatiently(listener: &TcpListener) -> JoinHandle<()> {
    let listener = listener.try_clone().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        receive(&mut stream, REQUEST);
        stream.write_all(RESPONSE).unwrap();
        stream.set_nonblocking(true).unwrap();
        loop {
            match stream.read(&mut [0; 64]) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                }
                Ok(0) => panic!("nobody has closed"),
                _ => {}
            }
        }
    })
}

#[test]
fn a_free_connection_goes_with_its_request() {
    scenario::run("moved", SCENARIOS);
}

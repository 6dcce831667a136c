//! Responses of connections that are followed: where each ends is known, and every request counts once, by its own class.

use std::io::Write;

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::{ServerFlow, framing, phase},
    ticket::{KIND_BOOKS, KIND_MOVE, Ticket},
};

use crate::{
    connection::{
        CLASS, NEXT_ACK, NEXT_SEQ, REQUEST, RESPONSE, accept_request, connect, connect_followed,
        followed_hand_off, further, listen, receive, respond, segment,
    },
    frame::{ACKNOWLEDGED, ECHO, RST, SEQ, TIMESTAMP},
    lab::Lab,
    scenario::{self, Scenario},
};

const ANSWERED: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted];
const BOOKED: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::RequestBooked];
const LOST: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::ResponseLost];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a response without a body", counters: ANSWERED, play: empty },
    Scenario { name: "a body that comes in parts", counters: ANSWERED, play: parts },
    Scenario { name: "chunks", counters: ANSWERED, play: chunks },
    Scenario { name: "a large body of many segments", counters: ANSWERED, play: large },
    Scenario { name: "an interim response is not the answer", counters: ANSWERED, play: interim },
    Scenario { name: "two responses at once, to two requests at once", counters: ANSWERED, play: pipelined },
    Scenario { name: "a body as long as the connection lasts is lost", counters: LOST, play: endless },
    Scenario { name: "a head in two parts is lost", counters: LOST, play: split },
    Scenario { name: "further requests count by their class", counters: BOOKED, play: booked },
    Scenario { name: "two requests that wait are given up together", counters: BOOKED, play: given_up },
    Scenario {
        name: "further requests count without being followed",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::RequestBooked,
            Counter::RequestRepeated,
        ],
        play: not_followed,
    },
    Scenario {
        name: "a request without a ticket counts on an idle connection",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::RequestRepeated],
        play: unticketed,
    },
    Scenario {
        name: "further requests without a connection have no place",
        counters: &[Counter::NoTicketDropped],
        play: nowhere,
    },
    Scenario {
        name: "further requests of a forgotten flow are passed",
        counters: &[Counter::HandoffAccepted, Counter::RequestBooked, Counter::MoveKept],
        play: forgotten,
    },
    Scenario { name: "a connection that begins in its middle", counters: ANSWERED, play: middle },
];

/// Asserts where the responses end, as the server's next byte, and how many have begun.
fn assert_at(lab: &mut Lab, sent: usize, framing: u8, answered: u8) {
    let flow = lab.flow().unwrap();
    let expected = ServerFlow { next_at: ACKNOWLEDGED + sent as u32, framing, answered, ..flow };
    assert_eq!(flow, expected);
}

/// Requests of a class that arrived, were answered, were abandoned.
fn stats(lab: &Lab, class: u16) -> (u64, u64, u64) {
    let stats = lab.class(class);
    (stats.arrived, stats.answered, stats.abandoned)
}

fn empty(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    assert_at(lab, 0, framing::HEAD, 0);
    respond(lab, &mut stream);
    assert_at(lab, RESPONSE.len(), framing::HEAD, 1);
    assert_eq!((stats(lab, CLASS), lab.held()), ((1, 1, 0), 0));
    let flow = lab.flow().unwrap();
    assert_eq!((flow.phase, flow.arrived), (phase::ANSWERED, 1));
    let service_ns = lab.class(CLASS).service_ns;
    assert!(service_ns > 0 && service_ns < 2_000_000_000, "{service_ns}");
}

fn parts(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    stream.write_all(head).unwrap();
    lab.expect(Counter::ResponseStarted);
    for part in [b"HTTP/", b"1.1 2"] {
        stream.write_all(part).unwrap();
        assert_at(lab, head.len() + 10, framing::HEAD, 1);
    }
}

fn chunks(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut sent = 0;
    for (part, framing) in [
        (&head[..], framing::CHUNK),
        (b"5\r\nhello\r\n3\r\nabc\r\n", framing::CHUNK),
        (b"A\r\n0123456789\r\n0\r\n\r\n", framing::HEAD),
    ] {
        stream.write_all(part).unwrap();
        sent += part.len();
        assert_at(lab, sent, framing, 1);
    }
    lab.expect(Counter::ResponseStarted);
}

/// Larger than a segment on the wire: the program gets it as one, of which most is not in the packet's linear part.
fn large(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    let long = |len: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{}", "x".repeat(len));
    let both = long(5000) + &long(3000);
    stream.write_all(both.as_bytes()).unwrap();
    lab.expect_times(Counter::ResponseStarted, 2);
    assert_at(lab, both.len(), framing::HEAD, 2);
}

fn interim(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    stream.write_all(interim).unwrap();
    assert_at(lab, interim.len(), framing::HEAD, 0);
    assert_eq!((stats(lab, CLASS), lab.held()), ((1, 0, 0), 1));
    respond(lab, &mut stream);
    assert_at(lab, interim.len() + RESPONSE.len(), framing::HEAD, 1);
}

fn pipelined(lab: &mut Lab) {
    let listener = listen(lab);
    lab.send(&followed_hand_off(lab).payload(&REQUEST.repeat(2)));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    receive(&mut stream, REQUEST);
    stream.write_all(&RESPONSE.repeat(2)).unwrap();
    lab.expect_times(Counter::ResponseStarted, 2);
    assert_at(lab, RESPONSE.len() * 2, framing::HEAD, 2);
    assert_eq!((stats(lab, CLASS), lab.held()), ((2, 2, 0), 0));
}

fn endless(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome").unwrap();
    lab.expect(Counter::ResponseStarted);
    lab.expect(Counter::ResponseLost);
    stream.write_all(b"more").unwrap();
    assert_eq!(lab.flow().unwrap().framing, framing::LOST);
    assert_eq!((stats(lab, CLASS), lab.held()), ((1, 1, 0), 0));
}

fn split(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    stream.write_all(&RESPONSE[..20]).unwrap();
    stream.write_all(&RESPONSE[20..]).unwrap();
    lab.expect(Counter::ResponseStarted);
    lab.expect(Counter::ResponseLost);
    assert_eq!((stats(lab, CLASS), lab.held()), ((1, 1, 0), 0));
}

fn booked(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    // What the socket has had before is not counted again.
    for _ in 0..2 {
        lab.send(&further(lab, KIND_BOOKS));
        lab.expect(Counter::RequestBooked);
        lab.wait(|lab| (stats(lab, CLASS + 1) == (1, 0, 0)).then_some(())).expect("one arrival");
        assert_eq!(lab.held(), 1);
    }
    receive(&mut stream, REQUEST);
    assert_eq!(lab.flow().unwrap().class, CLASS + 1);
    respond(lab, &mut stream);
    assert_at(lab, RESPONSE.len() * 2, framing::HEAD, 2);
    assert_eq!((stats(lab, CLASS), stats(lab, CLASS + 1), lab.held()), ((1, 1, 0), (1, 1, 0), 0));
}

fn given_up(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&further(lab, KIND_BOOKS));
    lab.expect(Counter::RequestBooked);
    let behind = NEXT_SEQ + REQUEST.len() as u32;
    let ticket = Ticket { number: 2, ..further(lab, KIND_BOOKS).ticket.unwrap() };
    lab.send(&further(lab, KIND_BOOKS).at(behind, NEXT_ACK).ticket(ticket));
    lab.expect(Counter::RequestBooked);
    assert_eq!((stats(lab, CLASS + 1), lab.held()), ((2, 0, 0), 2));
    // Requests that it never read make the kernel reset.
    drop(stream);
    lab.answer(|answer| answer.flags & RST != 0);
    assert_eq!((stats(lab, CLASS + 1), lab.held()), ((2, 0, 2), 0));
    assert_eq!(lab.flow().unwrap().phase, phase::CLOSED);
}

fn not_followed(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&further(lab, KIND_BOOKS));
    lab.expect(Counter::RequestBooked);
    lab.expect(Counter::RequestRepeated);
    receive(&mut stream, REQUEST);
    respond(lab, &mut stream);
    assert_eq!((stats(lab, CLASS), lab.held()), ((2, 2, 0), 0));
    assert_at(lab, 0, framing::OFF, 0);
}

fn unticketed(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(REQUEST));
    lab.expect(Counter::RequestRepeated);
    receive(&mut stream, REQUEST);
    assert_eq!((stats(lab, CLASS), lab.held()), ((2, 1, 0), 1));
    respond(lab, &mut stream);
    assert_at(lab, RESPONSE.len() * 2, framing::HEAD, 2);
    assert_eq!((stats(lab, CLASS), lab.held()), ((2, 2, 0), 0));
}

fn nowhere(lab: &mut Lab) {
    let _listener = listen(lab);
    for kind in [KIND_BOOKS, KIND_MOVE] {
        lab.send(&further(lab, kind));
        lab.expect(Counter::NoTicketDropped);
    }
    lab.assert_no_answer(|_| true);
}

fn forgotten(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    lab.forget_flow();
    lab.send(&further(lab, KIND_BOOKS).at(NEXT_SEQ, ACKNOWLEDGED));
    lab.expect(Counter::RequestBooked);
    receive(&mut stream, REQUEST);
    let behind = NEXT_SEQ + REQUEST.len() as u32;
    lab.send(&further(lab, KIND_MOVE).at(behind, ACKNOWLEDGED));
    lab.expect(Counter::MoveKept);
    receive(&mut stream, REQUEST);
}

/// As a server gets it that a connection has moved to.
fn middle(lab: &mut Lab) {
    let listener = listen(lab);
    let ticket = Ticket { number: 5, ..followed_hand_off(lab).ticket.unwrap() };
    let (seq, ack) = (SEQ + 2_000_000_000, ACKNOWLEDGED + 3_000_000_000);
    lab.send(&followed_hand_off(lab).at(seq, ack).ticket(ticket));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let answer = lab.answer(|answer| answer.payload == RESPONSE);
    assert_eq!((answer.seq, answer.ack), (ack, seq + REQUEST.len() as u32));
    let (value, echo) = answer.timestamps().unwrap();
    // The client has seen the number that it echoes, and would not take an older one (RFC 7323 section 5).
    assert!(value.wrapping_sub(ECHO) < 10_000, "{value:#x}");
    assert_eq!(echo, TIMESTAMP);
    let flow = lab.flow().unwrap();
    assert_eq!((flow.next_at, flow.arrived, flow.answered), (ack + RESPONSE.len() as u32, 6, 6));
}

#[test]
fn responses_of_followed_connections_are_followed() {
    scenario::run("followed", SCENARIOS);
}

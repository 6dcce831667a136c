//! Connections that are not free stay, and the request for another server is answered here. Each scenario lacks one of the
//! conditions under which a connection may go.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
};

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::phase,
    ticket::{KIND_MOVE, Ticket},
};
use socket2::SockRef;

use crate::{
    connection::{
        NEXT_ACK, NEXT_SEQ, REQUEST, RESPONSE, accept, connect, connect_followed, finish, followed_hand_off,
        further, listen, receive, respond, segment,
    },
    frame::{ACKNOWLEDGED, RST, Segment},
    lab::Lab,
    scenario::{self, Scenario},
};

const KEPT: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveKept];

const LOST: &[Counter] =
    &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::ResponseLost, Counter::MoveKept];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the software has not read the request before", counters: KEPT, play: unread },
    Scenario { name: "the response is not acknowledged", counters: KEPT, play: unacknowledged },
    Scenario { name: "half of a body is missing", counters: KEPT, play: half_body },
    Scenario { name: "the last chunk is missing", counters: KEPT, play: open_chunks },
    Scenario { name: "half of a chunk is missing", counters: KEPT, play: half_chunk },
    Scenario {
        name: "only an interim response was sent",
        counters: &[Counter::HandoffAccepted, Counter::MoveKept],
        play: interim,
    },
    Scenario {
        name: "there is no response",
        counters: &[Counter::HandoffAccepted, Counter::MoveKept],
        play: no_response,
    },
    Scenario { name: "a request before it is missing", counters: KEPT, play: number },
    Scenario { name: "there is data beyond a gap", counters: KEPT, play: ahead },
    Scenario { name: "the request itself is beyond a gap", counters: KEPT, play: gap },
    Scenario { name: "the client has closed its half", counters: KEPT, play: client_closed },
    Scenario { name: "the server has closed its half", counters: KEPT, play: server_closed },
    Scenario { name: "the server has more to send", counters: LOST, play: more },
    Scenario { name: "nobody knows where the response ends", counters: LOST, play: lost },
    Scenario {
        name: "the responses are not followed",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveKept,
            Counter::RequestRepeated,
        ],
        play: not_followed,
    },
];

/// The request for another server stays: the socket gets it, or at least is not ended.
fn assert_kept(lab: &mut Lab, request: &Segment) {
    lab.send(request);
    lab.expect(Counter::MoveKept);
    let phase = lab.flow().unwrap().phase;
    assert!(phase != phase::RETIRING && phase != phase::RELEASED, "{phase}");
    lab.assert_no_answer(|answer| answer.flags & RST != 0);
}

/// The request that follows `sent` bytes of responses, all of them acknowledged.
fn after(lab: &Lab, sent: usize) -> Segment {
    further(lab, KIND_MOVE).at(NEXT_SEQ, ACKNOWLEDGED + sent as u32)
}

/// Whatever the server sends, the connection stays.
fn stays_after(lab: &mut Lab, response: &[u8]) -> TcpStream {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    stream.write_all(response).unwrap();
    if !response.is_empty() && !response.starts_with(b"HTTP/1.1 1") {
        lab.expect(Counter::ResponseStarted);
    }
    let request = after(lab, response.len());
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
    stream
}

fn half_body(lab: &mut Lab) {
    stays_after(lab, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
}

fn open_chunks(lab: &mut Lab) {
    stays_after(lab, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
}

fn half_chunk(lab: &mut Lab) {
    stays_after(lab, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe");
}

fn interim(lab: &mut Lab) {
    stays_after(lab, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
}

fn no_response(lab: &mut Lab) {
    stays_after(lab, b"");
}

fn lost(lab: &mut Lab) {
    stays_after(lab, b"HTTP/1.1 200 OK\r\n\r\n");
    lab.expect(Counter::ResponseLost);
}

/// A connection that would be free.
fn answered(lab: &mut Lab) -> (std::net::TcpListener, TcpStream) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    (listener, stream)
}

fn unread(lab: &mut Lab) {
    let listener = listen(lab);
    lab.send(&followed_hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let request = after(lab, RESPONSE.len());
    assert_kept(lab, &request);
    receive(&mut stream, &REQUEST.repeat(2));
}

fn unacknowledged(lab: &mut Lab) {
    let (_listener, mut stream) = answered(lab);
    let request = after(lab, RESPONSE.len() - 1);
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
}

fn number(lab: &mut Lab) {
    let (_listener, mut stream) = answered(lab);
    let ticket = Ticket { number: 2, ..further(lab, KIND_MOVE).ticket.unwrap() };
    let request = after(lab, RESPONSE.len()).ticket(ticket);
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
}

fn ahead(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    lab.send(&segment(lab).at(NEXT_SEQ + 100, ACKNOWLEDGED).payload(b"beyond"));
    lab.answer(|answer| answer.payload.is_empty() && answer.ack == NEXT_SEQ && answer.options.len() > 12);
    respond(lab, &mut stream);
    assert_eq!(lab.flow().unwrap().phase, phase::ANSWERED);
    let request = after(lab, RESPONSE.len());
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
}

fn gap(lab: &mut Lab) {
    let (_listener, _stream) = answered(lab);
    let request = further(lab, KIND_MOVE).at(NEXT_SEQ + 100, NEXT_ACK);
    assert_kept(lab, &request);
}

fn client_closed(lab: &mut Lab) {
    let (_listener, _stream) = answered(lab);
    finish(lab);
    lab.answer(|answer| answer.ack == NEXT_SEQ + 1);
    let request = further(lab, KIND_MOVE).at(NEXT_SEQ + 1, NEXT_ACK);
    assert_kept(lab, &request);
}

fn server_closed(lab: &mut Lab) {
    let (_listener, mut stream) = answered(lab);
    stream.shutdown(Shutdown::Write).unwrap();
    let request = further(lab, KIND_MOVE).at(NEXT_SEQ, NEXT_ACK + 1);
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
}

/// It is held back, so that no program has seen it.
fn more(lab: &mut Lab) {
    let (_listener, mut stream) = answered(lab);
    SockRef::from(&stream).set_tcp_cork(true).unwrap();
    stream.write_all(b"HTTP/1.1 408 ").unwrap();
    assert_eq!(lab.flow().unwrap().next_at, NEXT_ACK);
    let request = after(lab, RESPONSE.len());
    assert_kept(lab, &request);
    receive(&mut stream, REQUEST);
    // It is no response, as it turns out.
    SockRef::from(&stream).set_tcp_cork(false).unwrap();
    lab.expect(Counter::ResponseStarted);
    lab.expect(Counter::ResponseLost);
}

fn not_followed(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    let request = after(lab, RESPONSE.len());
    assert_kept(lab, &request);
    lab.expect(Counter::RequestRepeated);
    receive(&mut stream, REQUEST);
}

#[test]
fn a_connection_that_is_not_free_stays() {
    scenario::run("kept", SCENARIOS);
}

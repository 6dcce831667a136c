//! What a client and a server do to each other in more than one scenario.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use dispatcher_common::{
    counter::BackCounter as Counter,
    ticket::{KIND_MOVE, KIND_RELEASED, Ticket},
};

use crate::{
    frame::{self, ACK, ACKNOWLEDGED, FIN, SEQ, Segment},
    lab::Lab,
};

pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n";
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
pub(crate) const CLASS: u16 = 7;

/// Where a client stands after its first request, and a server after its first response.
pub(crate) const NEXT_SEQ: u32 = SEQ + REQUEST.len() as u32;
pub(crate) const NEXT_ACK: u32 = ACKNOWLEDGED + RESPONSE.len() as u32;

pub(crate) fn listen(lab: &Lab) -> TcpListener {
    let listener = TcpListener::bind(lab.vip).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// The next connection, which has to be of this client port.
pub(crate) fn accept(lab: &Lab, listener: &TcpListener, port: u16) -> TcpStream {
    let (stream, peer) = lab.wait(|_| listener.accept().ok()).expect("a connection");
    assert_eq!((peer.ip(), peer.port()), (lab.client.ip(), port));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream
}

/// The same, its request received.
pub(crate) fn accept_request(lab: &Lab, listener: &TcpListener, port: u16) -> TcpStream {
    let mut stream = accept(lab, listener, port);
    receive(&mut stream, REQUEST);
    stream
}

/// Asserts that nothing waits to be accepted.
pub(crate) fn assert_nobody(listener: &TcpListener) {
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// Asserts that the next bytes are these.
pub(crate) fn receive(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(received, bytes);
}

/// A segment of the client without a ticket.
pub(crate) fn segment(lab: &Lab) -> Segment {
    Segment::new(lab.client, lab.vip)
}

/// The first segment of a request, as a front-end sends it.
pub(crate) fn hand_off(lab: &Lab) -> Segment {
    segment(lab).ticket(frame::ticket(CLASS)).payload(REQUEST)
}

/// The same of a connection that is followed.
pub(crate) fn followed_hand_off(lab: &Lab) -> Segment {
    hand_off(lab).ticket(Ticket { followed: true, ..frame::ticket(CLASS) })
}

/// The second request, as a front-end sends it to the server that has the connection, answered as the first was.
pub(crate) fn further(lab: &Lab, kind: u8) -> Segment {
    let ticket = Ticket { kind, followed: true, number: 1, server: 1, ..frame::ticket(CLASS + 1) };
    segment(lab).at(NEXT_SEQ, NEXT_ACK).ticket(ticket).payload(REQUEST)
}

/// A followed connection whose request was handed off and received. What its server writes is sent at once.
pub(crate) fn connect_followed(lab: &mut Lab, listener: &TcpListener) -> TcpStream {
    lab.send(&followed_hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    let stream = accept_request(lab, listener, lab.client.port());
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection whose request was handed off and received.
pub(crate) fn connect(lab: &mut Lab, listener: &TcpListener) -> TcpStream {
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    accept_request(lab, listener, lab.client.port())
}

pub(crate) fn respond(lab: &mut Lab, stream: &mut TcpStream) {
    stream.write_all(RESPONSE).unwrap();
    lab.expect(Counter::ResponseStarted);
}

/// The client takes the response and sends no more.
pub(crate) fn finish(lab: &Lab) {
    lab.send(&segment(lab).flags(FIN | ACK).at(NEXT_SEQ, NEXT_ACK));
}

/// A connection that the server closes first, which leaves it in TIME_WAIT.
pub(crate) fn close_into_time_wait(lab: &mut Lab, listener: &TcpListener) {
    let mut stream = connect(lab, listener);
    respond(lab, &mut stream);
    drop(stream);
    lab.send(&segment(lab).flags(FIN | ACK).at(NEXT_SEQ, NEXT_ACK + 1));
    lab.wait(|_| has_state("06").then_some(())).expect("a socket in TIME_WAIT");
}

/// Whether a TCP socket of the namespace is in a state, in hexadecimal as `/proc` says it.
pub(crate) fn has_state(state: &str) -> bool {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let field = format!(" {state} ");
    tables.iter().any(|table| {
        let lines = fs::read_to_string(table).unwrap();
        lines.lines().any(|line| line.split(':').nth(3).is_some_and(|rest| rest.contains(&field)))
    })
}

/// A move ticket meets a connection that is free: the request comes back released, the very same but for its ticket.
pub(crate) fn release(lab: &mut Lab, request: &Segment) {
    lab.send(request);
    lab.expect(Counter::MoveBegun);
    lab.expect(Counter::MoveReleased);
    assert_released(lab, request);
}

/// Asserts that a request has come back with the ticket of a released one, which tells of the path what is remembered of it.
pub(crate) fn assert_released(lab: &mut Lab, request: &Segment) {
    let ticket = request.ticket.expect("a ticket");
    let path = lab.flow().expect("the flow is remembered").path;
    lab.assert_sent_back(&request.clone().ticket(Ticket { kind: KIND_RELEASED, path, ..ticket }));
}

/// A connection whose first request was answered here, and that was released for its second.
pub(crate) fn connect_and_release(lab: &mut Lab, listener: &TcpListener) {
    let mut stream = connect_followed(lab, listener);
    respond(lab, &mut stream);
    let request = further(lab, KIND_MOVE);
    release(lab, &request);
}

//! The server's TC programs against the running kernel's TCP: frames go in by a veth, real sockets listen, and each counter
//! says what became of a segment. Both families run everything.
//!
//! `HandoffRefused` needs a kernel that refuses what the ticket says: the programs run by `BPF_PROG_TEST_RUN`, outside of TC
//! ingress, give it that reason.

mod frame;
mod lab;
mod raw;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use dispatcher_common::{counter::BackCounter as Counter, siphash::SipKey};
use frame::{ACK, FIN, RST, SYN, Segment};
use lab::{Lab, both_families, sysctl};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const CLASS: u16 = 7;

fn listen(lab: &Lab) -> TcpListener {
    let listener = TcpListener::bind(lab.vip).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn accept(lab: &Lab, listener: &TcpListener) -> TcpStream {
    let (stream, peer) = lab.wait(|_| listener.accept().ok()).expect("a connection");
    assert_eq!(peer, lab.client);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; REQUEST.len()];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The first segment of a request, as a front-end sends it.
fn hand_off(lab: &Lab) -> Segment {
    Segment::new(lab.client, lab.vip).with_ticket(CLASS).payload(REQUEST)
}

/// A connection whose request was handed off.
fn connect(lab: &mut Lab, listener: &TcpListener) -> TcpStream {
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    accept(lab, listener)
}

/// The same, closed by the server first: its socket is in TIME_WAIT.
fn close_into_time_wait(lab: &mut Lab, listener: &TcpListener) {
    let mut stream = connect(lab, listener);
    receive(&mut stream);
    stream.write_all(RESPONSE).unwrap();
    lab.expect(Counter::ResponseStarted);
    drop(stream);
    let (seq, ack) = (1000 + REQUEST.len() as u32, 5000 + RESPONSE.len() as u32 + 1);
    lab.send(&Segment::new(lab.client, lab.vip).flags(FIN | ACK).at(seq, ack));
    let in_time_wait = |_: &Lab| {
        let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
        tables.iter().any(|table| std::fs::read_to_string(table).unwrap().contains(" 06 ")).then_some(())
    };
    lab.wait(in_time_wait).expect("a socket in TIME_WAIT");
}

#[test]
fn a_ticket_becomes_an_accepted_connection() {
    both_families(|lab| {
        let listener = listen(lab);
        let mut stream = connect(lab, &listener);
        assert_eq!(receive(&mut stream), REQUEST);
        assert_eq!((lab.class(CLASS).arrived, lab.held()), (1, 1));
        stream.write_all(RESPONSE).unwrap();
        lab.expect(Counter::ResponseStarted);
        let stats = lab.class(CLASS);
        assert_eq!((stats.arrived, stats.answered, stats.abandoned, lab.held()), (1, 1, 0, 0));
        assert!(stats.service_ns > 0 && stats.service_ns < 2_000_000_000, "{}", stats.service_ns);
    });
}

#[test]
fn a_new_connection_on_the_port_of_one_in_time_wait_is_taken() {
    both_families(|lab| {
        let listener = listen(lab);
        close_into_time_wait(lab, &listener);
        lab.send(&hand_off(lab).at(70_000, 90_000));
        lab.expect(Counter::TimeWaitRetired);
        lab.expect(Counter::RstPassed);
        lab.expect(Counter::HandoffAccepted);
        assert_eq!(receive(&mut accept(lab, &listener)), REQUEST);
        lab.unmoved(Counter::RetireStuck);
    });
}

//! What a server does when a ticket does not meet a free listener: an older connection on the same port, no listener, options
//! that its kernel does not allow.

use std::{thread, time::Duration};

use dispatcher_common::{counter::BackCounter, siphash::SipKey};
use tests::{
    Family, Rig,
    wire::{Connection, Flags, Offer, Peer},
};

use crate::{
    forgery::{now, seal, secret},
    stage,
    stage::FAMILIES,
    watch::Watch,
};

const PATIENCE: Duration = Duration::from_secs(3);
const BRIEFLY: Duration = Duration::from_millis(100);
const CLOSE: &[u8] = b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n";

#[test]
fn a_new_connection_on_the_same_port_replaces_one_that_was_forgotten() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut old = peer.connection(family, 80, Offer::LINUX).unwrap();
        old.handshake().unwrap();
        assert_eq!(old.get("/pages/1").unwrap().status, 200);
        // The client has lost its memory and takes the same port again.
        let mut new = peer.connection_from(old.source().port(), family, 80, Offer::LINUX).unwrap();
        new.set_isn(old.isn().wrapping_add(1_000_000));
        new.handshake().unwrap();
        assert_eq!(new.get("/pages/1").unwrap().status, 200, "{family:?}");
        assert_eq!(new.get("/pages/2").unwrap().status, 200, "{family:?}");
    }
    watch.finish(rig);
}

#[test]
fn a_time_wait_of_the_server_yields_to_a_new_connection() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let port = leave_time_wait(peer, family);
        let mut new = peer.connection_from(port, family, 80, Offer::LINUX).unwrap();
        new.set_isn(0x7777_0000);
        new.handshake().unwrap();
        assert_eq!(new.get("/pages/1").unwrap().status, 200, "{family:?}");
    }
    watch.until(rig, BackCounter::TimeWaitRetired, 2);
    watch.finish(rig);
}

#[test]
fn a_time_wait_that_cannot_be_retired_is_counted_and_does_not_loop() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    set_on_servers(rig, "ipv4/tcp_rfc1337", "1");
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let port = leave_time_wait(peer, family);
        let mut new = peer.connection_from(port, family, 80, Offer::LINUX).unwrap();
        new.set_isn(0x7777_0000);
        new.handshake().unwrap();
        new.send(CLOSE).unwrap();
        let data = new.expect("data", |segment| !segment.payload.is_empty(), BRIEFLY);
        assert!(data.is_err(), "{family:?}: TIME_WAIT was retired in spite of tcp_rfc1337");
    }
    set_on_servers(rig, "ipv4/tcp_rfc1337", "0");
    watch.until(rig, BackCounter::RetireStuck, 2);
    assert!(watch.moved(rig, BackCounter::RetireStuck) < 10, "a clone went round in circles");
    watch.finish(rig);
}

/// Lets the server close first; gives the client's port.
fn leave_time_wait(peer: &Peer, family: Family) -> u16 {
    let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    connection.send(CLOSE).unwrap();
    assert_eq!(connection.response(PATIENCE).unwrap().status, 200);
    connection.wait_for_end(PATIENCE).unwrap();
    connection.fin().unwrap();
    thread::sleep(Duration::from_millis(50));
    connection.source().port()
}

#[test]
fn a_ticket_for_a_service_that_nobody_listens_on_is_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let key = SipKey::from_bytes(secret(rig).ticket_key());
    let watch = Watch::start(rig);
    for family in FAMILIES {
        // Only server 1 listens on the echo service's port, but the agents of all serve it.
        let mut connection = handed_to(rig, peer, "server2", family, Offer::NONE);
        let mut segment = connection.segment(0, Flags::ACK.and(Flags::PSH), CLOSE);
        segment.options = seal(&key, &connection, &segment, now());
        connection.transmit(&segment).unwrap();
        connection.expect("a RST", |segment| segment.flags.has(Flags::RST), PATIENCE).unwrap();
    }
    watch.finish(rig);
}

fn handed_to(rig: &Rig, peer: &Peer, server: &str, family: Family, offer: Offer) -> Connection {
    let mut connection = peer.connection(family, crate::echo::ECHO_PORT, offer).unwrap();
    connection.aim(&rig.plan().mac(server)).unwrap();
    connection.set_cookie(0x1000_0000);
    connection
}

#[test]
fn options_that_a_server_forbids_make_its_kernel_refuse_the_hand_off() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    set_on_servers(rig, "ipv4/tcp_timestamps", "0");
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.send(CLOSE).unwrap();
        connection.expect("a RST", |segment| segment.flags.has(Flags::RST), PATIENCE).unwrap();
    }
    set_on_servers(rig, "ipv4/tcp_timestamps", "1");
    watch.finish(rig);
}

fn set_on_servers(rig: &Rig, key: &str, value: &str) {
    for server in rig.plan().server_names() {
        rig.host(&server).unwrap().sysctl(&[(key, value)]).unwrap();
    }
}

//! Clients of every kind: without this or that option, with data on the SYN, with a segment as large as fits, idle at first.

use std::{io::Write, thread, time::Duration};

use tests::{
    Family, content,
    wire::{Connection, Flags, Offer, TcpOption, encode_options},
};

use crate::{echo::ECHO_PORT, heads, stage, stage::FAMILIES, watch::Watch};

const OFFERS: [(&str, Offer); 6] = [
    ("all options", Offer::LINUX),
    ("no timestamps", Offer { timestamps: false, ..Offer::LINUX }),
    ("no SACK", Offer { sack: false, ..Offer::LINUX }),
    ("no window scaling", Offer { window_scale: None, ..Offer::LINUX }),
    ("MSS alone", Offer { mss: Some(1460), ..Offer::NONE }),
    ("no options", Offer::NONE),
];

#[test]
fn a_client_is_served_whatever_options_it_lacks() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for (what, offer) in OFFERS {
            let mut connection = peer.connection(family, 80, offer).unwrap();
            let answer = connection.handshake().unwrap();
            assert_eq!(answer.window_scale(), offer.window_scale.map(|_| 7), "{family:?}, {what}");
            assert_eq!(answer.permits_sack(), offer.sack, "{family:?}, {what}");
            assert_eq!(answer.timestamps().is_some(), offer.timestamps, "{family:?}, {what}");
            assert_eq!(answer.hop_limit, 64, "{family:?}, {what}");
            fetch(&mut connection, &format!("{family:?}, {what}"));
            // A second request on the same connection, and an orderly end.
            fetch(&mut connection, &format!("{family:?}, {what}, again"));
            connection
                .close(Duration::from_secs(3))
                .unwrap_or_else(|error| panic!("{family:?}, {what}: {error:#}"));
        }
    }
    watch.finish(rig);
}

fn fetch(connection: &mut Connection, what: &str) -> usize {
    let response = connection.get("/bytes/64k").unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert_eq!(response.status, 200, "{what}");
    assert_eq!(response.body.len(), 65_536, "{what}");
    assert_eq!(content::first_difference(0, &response.body), None, "{what}");
    response.largest_packet
}

#[test]
fn a_small_mss_is_respected() {
    let Some(stage) = stage::shared() else { return };
    for (family, mss) in [(Family::V4, 536), (Family::V6, 1220)] {
        let offer = Offer { mss: Some(mss), ..Offer::LINUX };
        let mut connection = stage.peer().connection(family, 80, offer).unwrap();
        connection.handshake().unwrap();
        let largest = fetch(&mut connection, "a small MSS");
        assert!(largest <= usize::from(mss), "{family:?}: a packet of {largest} bytes for an MSS of {mss}");
    }
    // IPv6 paths carry 1280 bytes, so a smaller MSS than 1220 is raised; the client is served all the same.
    let offer = Offer { mss: Some(536), ..Offer::LINUX };
    let mut connection = stage.peer().connection(Family::V6, 80, offer).unwrap();
    connection.handshake().unwrap();
    fetch(&mut connection, "MSS 536 with IPv6");
}

#[test]
fn timestamps_do_not_run_backwards_at_the_hand_off() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let mut connection = stage.peer().connection(family, 80, Offer::LINUX).unwrap();
        let (first, echo) = connection.handshake().unwrap().timestamps().unwrap();
        assert!(echo != 0, "the SYN-ACK echoes the client's timestamp");
        connection.send(b"GET / HTTP/1.1\r\nHost: rig\r\n\r\n").unwrap();
        let answer =
            connection.expect("data", |segment| !segment.payload.is_empty(), Duration::from_secs(3)).unwrap();
        let (later, _) = answer.segment.timestamps().expect("the server goes on with timestamps");
        let step = later.wrapping_sub(first).cast_signed();
        assert!(step >= 0, "{family:?}: from {first} to {later}: RFC 7323 lets the client drop this");
    }
}

#[test]
fn data_on_the_syn_is_left_for_the_client_to_repeat() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for offer in [Offer::LINUX, Offer::NONE] {
            let request = b"GET /bytes/1k HTTP/1.1\r\nHost: rig\r\n\r\n";
            let mut connection = peer.connection(family, 80, offer).unwrap();
            connection.handshake_with(request).unwrap();
            connection.send_at(0, request).unwrap();
            let response = connection.response(Duration::from_secs(5)).unwrap();
            assert_eq!((response.status, response.body.len()), (200, 1024), "{family:?}, {offer:?}");
        }
    }
    watch.finish(rig);
}

#[test]
fn a_first_segment_as_large_as_the_mss_allows_has_room_for_its_ticket() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for offer in [Offer::LINUX, Offer::NONE] {
            let mut connection = peer.connection(family, ECHO_PORT, offer).unwrap();
            let answer = connection.handshake().unwrap();
            let ip = if family == Family::V4 { 20 } else { 40 };
            assert_eq!(answer.mss(), Some(1500 - ip - 20 - 16), "{family:?}");
            let room = usize::from(answer.mss().unwrap()) - if offer.timestamps { 12 } else { 0 };
            let mut request = b"GET /echo HTTP/1.1\r\nHost: rig\r\nCookie: ".to_vec();
            request.resize(room - 4, b'c');
            request.extend(b"\r\n\r\n");
            connection.send(&request).unwrap();
            assert!(
                connection.response(Duration::from_secs(5)).unwrap().body == request,
                "{family:?}, {offer:?}"
            );
        }
        // A real client whose head takes three segments of full size.
        let request = format!("GET /echo HTTP/1.1\r\nHost: rig\r\nCookie: {}\r\n\r\n", "c".repeat(4000));
        let mut stream = heads::connect(rig, family, ECHO_PORT);
        stream.write_all(request.as_bytes()).unwrap();
        assert!(heads::read_body(&mut stream) == request.as_bytes(), "{family:?}");
    }
    watch.finish(rig);
}

#[test]
fn a_connection_idle_before_its_first_request_is_kept_alive_and_served() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for offer in [Offer::LINUX, Offer::NONE] {
            let mut connection = peer.connection(family, 80, offer).unwrap();
            connection.handshake().unwrap();
            thread::sleep(Duration::from_millis(300));
            connection.probe().unwrap();
            let answer =
                connection.expect("an ACK", |segment| segment.flags == Flags::ACK, Duration::from_secs(2));
            let answer = answer.unwrap();
            assert!(answer.checksum_right);
            assert_eq!(answer.segment.seq, connection.expected());
            assert_eq!(answer.segment.ack, connection.isn().wrapping_add(1));
            assert_eq!(connection.get("/bytes/1k").unwrap().status, 200);
        }
    }
    watch.finish(rig);
}

#[test]
fn a_client_that_closes_without_a_request_is_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.fin().unwrap();
        connection.expect_reset().unwrap();
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.rst().unwrap();
        connection.expect_silence(Duration::from_millis(50)).unwrap();
    }
    watch.finish(rig);
}

#[test]
fn a_repeated_first_segment_carries_its_ticket_again() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    let request = b"GET /bytes/1k HTTP/1.1\r\nHost: rig\r\n\r\n";
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        let first = connection.segment(0, Flags::ACK.and(Flags::PSH), request);
        connection.transmit(&first).unwrap();
        connection.expect("data", |segment| !segment.payload.is_empty(), Duration::from_secs(2)).unwrap();
        // The filter is written a moment after the request has left.
        std::thread::sleep(Duration::from_millis(50));
        // We have not acknowledged the response, so for all that the front-end knows the server never had the request.
        connection.transmit(&first).unwrap();
        // The server knows the bytes and says so by an ACK.
        connection.expect("an ACK", |segment| segment.flags.has(Flags::ACK), Duration::from_secs(2)).unwrap();
        // With SACK blocks there is no room for the ticket beside them.
        let mut crowded = first.clone();
        let (value, echo) = first.timestamps().unwrap();
        let blocks = vec![(connection.expected() + 100, connection.expected() + 200); 2];
        crowded.options = encode_options(&[
            TcpOption::Nop,
            TcpOption::Nop,
            TcpOption::Timestamps(value, echo),
            TcpOption::Nop,
            TcpOption::Nop,
            TcpOption::Sack(blocks),
        ]);
        connection.transmit(&crowded).unwrap();
        connection.expect("an ACK", |segment| segment.flags.has(Flags::ACK), Duration::from_secs(2)).unwrap();
        assert_eq!(connection.response(Duration::from_secs(3)).unwrap().status, 200);
        assert_eq!(connection.get("/bytes/1k").unwrap().status, 200);
    }
    watch.finish(rig);
}

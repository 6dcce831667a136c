//! Packets to a VIP that no well-behaved client sends, or that belong to no flow.

use std::time::Duration;

use tests::{
    Family,
    wire::{Connection, Flags, Offer, Peer, fragment, too_big, with_extension, with_ip_options},
};

use crate::{stage, stage::FAMILIES, watch::Watch};

const BRIEFLY: Duration = Duration::from_millis(50);

#[test]
fn segments_of_unknown_flows_are_reset_and_their_resets_dropped() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = stranger(peer, family);
        connection.acknowledge().unwrap();
        connection.expect_reset().unwrap();
        let mut connection = stranger(peer, family);
        connection.fin().unwrap();
        connection.expect_reset().unwrap();
        let mut connection = stranger(peer, family);
        connection.rst().unwrap();
        connection.expect_silence(BRIEFLY).unwrap();
    }
    watch.finish(rig);
}

/// A connection that never had a handshake.
fn stranger(peer: &Peer, family: Family) -> Connection {
    let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
    connection.set_cookie(0x1234_5678);
    connection
}

#[test]
fn a_second_segment_that_comes_first_is_dropped_without_a_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        let (first, second) = (b"GET /a HTTP/1.1\r\n", b"Host: rig\r\n\r\n");
        let offset = u32::try_from(first.len()).unwrap();
        connection.send_at(offset, second).unwrap();
        connection.expect_silence(BRIEFLY).unwrap();
        connection.send_at(0, first).unwrap();
        connection.send_at(offset, second).unwrap();
        assert_eq!(connection.response(Duration::from_secs(3)).unwrap().status, 200);
    }
    watch.finish(rig);
}

#[test]
fn malformed_segments_are_dropped_and_counted() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for flags in [Flags::SYN.and(Flags::FIN), Flags::SYN.and(Flags::RST), Flags::SYN.and(Flags::ACK)] {
            let mut connection = stranger(peer, family);
            let segment = connection.segment(0, flags, b"");
            connection.transmit(&segment).unwrap();
            connection.expect_silence(Duration::from_millis(20)).unwrap();
        }
        // A header length of 12 bytes.
        let mut connection = stranger(peer, family);
        let (from, to) = connection.macs();
        let mut frame = connection.segment(0, Flags::ACK, b"data").frame(from, to).unwrap();
        let ip_len = if family == Family::V4 { 20 } else { 40 };
        frame[14 + ip_len + 12] = 3 << 4;
        connection.transmit_frame(&frame).unwrap();
        connection.expect_silence(Duration::from_millis(20)).unwrap();
    }
    watch.finish(rig);
}

#[test]
fn fragments_ip_options_and_extension_headers_are_dropped_and_counted() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    let (from, to) = peer.macs();
    let mut connection = peer.connection(Family::V4, 80, Offer::LINUX).unwrap();
    let syn = connection.syn(b"");
    connection.transmit_frame(&fragment(&syn, from, to).unwrap()).unwrap();
    connection.transmit_frame(&with_ip_options(&syn, from, to).unwrap()).unwrap();
    connection.expect_silence(BRIEFLY).unwrap();
    let mut connection = peer.connection(Family::V6, 80, Offer::LINUX).unwrap();
    let syn = connection.syn(b"");
    connection.transmit_frame(&with_extension(&syn, from, to).unwrap()).unwrap();
    connection.expect_silence(BRIEFLY).unwrap();
    watch.finish(rig);
}

#[test]
fn a_path_mtu_message_about_no_flow_is_dropped_and_counted() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let connection = stranger(peer, family);
        let mut quoted = connection.segment(0, Flags::ACK, b"data");
        std::mem::swap(&mut quoted.source, &mut quoted.destination);
        let (from, to) = peer.macs();
        let message = too_big(&quoted, peer.address(family), 1300, from, to).unwrap();
        connection.transmit_frame(&message).unwrap();
    }
    watch.finish(rig);
}

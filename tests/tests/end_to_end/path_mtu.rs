//! A path to the client with a smaller MTU than the servers' links: routers' messages find the server of their flow.

use std::time::{Duration, Instant};

use tests::{
    Family, content,
    wire::{Offer, too_big},
};

use crate::{stage, watch::Watch};

#[test]
fn a_large_response_arrives_over_a_path_with_a_smaller_mtu() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for (family, mtu, headers) in [(Family::V4, 1000, 52), (Family::V6, 1280, 72)] {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.send(b"GET /bytes/64k HTTP/1.1\r\nHost: rig\r\n\r\n").unwrap();
        let (start, mut told) = (Instant::now(), 0);
        let response = loop {
            assert!(
                start.elapsed() < Duration::from_secs(12),
                "{family:?}: black hole after {told} messages"
            );
            let deadline = Instant::now() + Duration::from_secs(3);
            let Some(received) = connection.receive(deadline).unwrap() else { continue };
            if received.packet_payload + headers > usize::from(mtu) {
                // A router quotes the first packet that the card made of it, and drops all.
                let mut packet = received.segment.clone();
                packet.payload.truncate(received.packet_payload);
                let (from, to) = peer.macs();
                let message = too_big(&packet, peer.address(family), mtu, from, to).unwrap();
                connection.transmit_frame(&message).unwrap();
                told += 1;
            } else if let Some(response) = connection.accept(received).unwrap() {
                break response;
            }
        };
        assert!(told > 0, "{family:?}: no packet was too large");
        assert_eq!(response.body.len(), 65_536);
        assert_eq!(content::first_difference(0, &response.body), None);
    }
    watch.finish(rig);
}

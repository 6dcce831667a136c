//! Cookies and tickets that are forged, expired or replayed, by somebody who even knows the secret where that is what it takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dispatcher_common::{
    address::Address,
    cookie,
    counter::{BackCounter, FrontCounter},
    epoch::Epoch,
    path_state::PathState,
    siphash::SipKey,
    syn_options::SynOptions,
    ticket::{self, KIND_HAND_OFF, Ticket},
    tuple::Tuple,
};
use dispatcher_core::secret::Secret;
use tests::{
    Family, Rig,
    wire::{Connection, Flags, Offer, Segment},
};

use crate::{stage, stage::FAMILIES, watch::Watch};

const REQUEST: &[u8] = b"GET /bytes/1k HTTP/1.1\r\nHost: rig\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(3);
const BRIEFLY: Duration = Duration::from_millis(100);

#[test]
fn forged_and_expired_cookies_are_refused_with_an_exact_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let key = SipKey::from_bytes(secret(rig).cookie_key());
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for (what, age, flip, good) in [
            ("ours", 0, 0, true),
            ("of last epoch", 1, 0, true),
            ("expired", 2, 0, false),
            ("older", 9, 0, false),
            ("forged", 0, 0x0080, false),
            ("other options", 0, 0x0200_0000, false),
        ] {
            let mut connection = peer.connection(family, 80, Offer::NONE).unwrap();
            let options = SynOptions::new(536, None, false);
            let made =
                cookie::make(&key, &tuple(&connection), options, connection.isn(), Epoch(now().0 - age));
            connection.set_cookie(made ^ flip);
            connection.send(REQUEST).unwrap();
            if good {
                let status =
                    connection.response(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error:#}")).status;
                assert_eq!(status, 200, "{family:?}, a cookie {what}");
            } else {
                connection
                    .expect_reset()
                    .unwrap_or_else(|error| panic!("{family:?}, a cookie {what}: {error:#}"));
            }
        }
        // A good cookie on another port.
        let mut lender = peer.connection(family, 80, Offer::LINUX).unwrap();
        let answer = lender.handshake().unwrap();
        let mut thief = peer.connection(family, 80, Offer::LINUX).unwrap();
        thief.set_isn(lender.isn());
        thief.set_cookie(answer.seq);
        thief.send(REQUEST).unwrap();
        thief.expect_reset().unwrap();
    }
    watch.until(rig, FrontCounter::CookieRefused, 10);
    assert_eq!(watch.dispatched(rig), 4);
    watch.finish(rig);
}

#[test]
fn a_replayed_request_reaches_no_server_twice() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        let first = connection.segment(0, Flags::ACK.and(Flags::PSH), REQUEST);
        connection.transmit(&first).unwrap();
        assert_eq!(connection.response(PATIENCE).unwrap().status, 200);
        connection.close(PATIENCE).unwrap();
        std::thread::sleep(BRIEFLY);
        // While the filter stands the copy travels without a ticket, since its response has arrived; when it has gone, the copy
        // passes for a new request, and its server remembers the ticket.
        let port = u64::from(connection.source().port());
        for gone in [false, true] {
            if gone {
                let expired = |rows: &Vec<serde_json::Value>| !rows.iter().any(|row| row["port"] == port);
                rig.wait_for("front", "filters", Duration::from_secs(6), expired).unwrap();
            }
            connection.transmit(&first).unwrap();
            let data = |segment: &Segment| !segment.payload.is_empty();
            assert!(connection.expect("data", data, BRIEFLY).is_err(), "{family:?}: the replay was answered");
        }
    }
    watch.until(rig, BackCounter::TicketReplayed, 2);
    watch.finish(rig);
}

#[test]
fn forged_and_expired_tickets_are_refused_at_the_server() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let ours = SipKey::from_bytes(secret(rig).ticket_key());
    let theirs = SipKey { k0: 1, k1: 2 };
    let mac = rig.plan().mac("server1");
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for (what, key, epoch, flip, good) in [
            ("ours", &ours, now(), 0, true),
            ("of another secret", &theirs, now(), 0, false),
            ("expired", &ours, Epoch(now().0 - 3), 0, false),
            ("with a bit flipped", &ours, now(), 0x40, false),
        ] {
            let mut connection = peer.connection(family, 80, Offer::NONE).unwrap();
            connection.aim(&mac).unwrap();
            connection.set_cookie(0x1000_0000);
            let mut segment = connection.segment(0, Flags::ACK.and(Flags::PSH), REQUEST);
            segment.options = seal(key, &connection, &segment, epoch);
            segment.options[9] ^= flip;
            connection.transmit(&segment).unwrap();
            if good {
                let response =
                    connection.response(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error:#}"));
                assert_eq!(response.server.as_deref(), Some("server1"), "{family:?}, a ticket {what}");
                connection.rst().unwrap();
            } else {
                connection
                    .expect_silence(BRIEFLY)
                    .unwrap_or_else(|error| panic!("a ticket {what}: {error:#}"));
            }
        }
    }
    watch.until(rig, BackCounter::TicketBad, 4);
    watch.until(rig, BackCounter::TicketExpired, 2);
    assert_eq!(watch.moved(rig, BackCounter::HandoffAccepted), 2);
    watch.finish(rig);
}

#[test]
fn a_server_takes_no_handshake_and_no_segment_without_a_ticket() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let mac = rig.plan().mac("server1");
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.aim(&mac).unwrap();
        let syn = connection.syn(b"");
        connection.transmit(&syn).unwrap();
        connection.expect_silence(BRIEFLY).unwrap();
        connection.set_cookie(0x1000_0000);
        connection.send(REQUEST).unwrap();
        connection.expect_silence(BRIEFLY).unwrap();
        let (from, to) = connection.macs();
        let mut frame = connection.segment(0, Flags::ACK, b"data").frame(from, to).unwrap();
        let ip_len = if family == Family::V4 { 20 } else { 40 };
        frame[14 + ip_len + 12] = 3 << 4;
        connection.transmit_frame(&frame).unwrap();
        connection.expect_silence(BRIEFLY).unwrap();
    }
    watch.finish(rig);
}

#[test]
fn a_client_that_sends_our_option_is_refused() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let ours = SipKey::from_bytes(secret(rig).ticket_key());
    let watch = Watch::start(rig);
    for family in FAMILIES {
        // On the first segment of a fresh flow, and on one of an established flow.
        for established in [false, true] {
            let mut connection = peer.connection(family, 80, Offer::NONE).unwrap();
            connection.handshake().unwrap();
            if established {
                assert_eq!(connection.get("/bytes/1k").unwrap().status, 200);
            }
            let offset = if established { 40 } else { 0 };
            let mut segment = connection.segment(offset, Flags::ACK.and(Flags::PSH), REQUEST);
            segment.options = seal(&ours, &connection, &segment, now());
            connection.transmit(&segment).unwrap();
            connection.expect_silence(BRIEFLY).unwrap();
        }
    }
    watch.until(rig, FrontCounter::ForeignTicketDropped, 4);
    watch.finish(rig);
}

/// The secret that the rig writes into its configuration files.
pub(crate) fn secret(rig: &Rig) -> Secret {
    Secret::new(&format!("secret of the rig {}", rig.plan().instance())).unwrap()
}

/// A ticket option for `segment`, for a client without options.
pub(crate) fn seal(key: &SipKey, connection: &Connection, segment: &Segment, epoch: Epoch) -> Vec<u8> {
    let ticket = Ticket {
        kind: KIND_HAND_OFF,
        options: SynOptions::new(536, None, false),
        priority: 3,
        timestamps: false,
        followed: false,
        number: 0,
        class: 0,
        server: 0,
        path: PathState::UNKNOWN,
    };
    let place = ticket::Segment { tuple: &tuple(connection), seq: segment.seq, ack: segment.ack };
    ticket.seal(key, &place, epoch).iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn tuple(connection: &Connection) -> Tuple {
    let (source, destination) = (connection.source(), connection.destination());
    Tuple {
        client: Address::from(source.ip()),
        vip: Address::from(destination.ip()),
        client_port_be: source.port().to_be(),
        port_be: destination.port().to_be(),
    }
}

pub(crate) fn now() -> Epoch {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Epoch::at(u64::try_from(since.as_nanos()).unwrap())
}

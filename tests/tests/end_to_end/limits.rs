//! Bounds of the front-end: filters, heads being collected, and their memory.

use std::time::Duration;

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{
    Family, FrontOptions, Rig,
    wire::{Connection, Offer, Peer},
};

use crate::{stage, watch::Watch};

#[test]
fn a_full_filter_table_turns_new_requests_away_and_keeps_the_old_flows() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let (rig, peer) = stage.both();
    restart_front(rig, |text| *text = text.replacen("\n[[server]]", "\nmax_filters = 64\n[[server]]", 1));
    let watch = Watch::start(rig);
    let mut kept: Vec<Connection> = (0..64).map(|_| request(peer)).collect();
    for connection in &mut kept {
        assert_eq!(connection.response(Duration::from_secs(3)).unwrap().status, 200);
    }
    let mut late = request(peer);
    late.expect_silence(Duration::from_millis(100)).unwrap();
    for connection in &mut kept {
        assert_eq!(connection.get("/pages/2").unwrap().status, 200);
    }
    watch.until(rig, FrontCounter::FilterTableFull, 1);
    watch.finish(rig);
}

#[test]
fn collected_heads_are_bounded_in_number_and_memory() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let (rig, peer) = stage.both();
    let bounds = "max_collecting = 8\ncollect_memory = \"32KiB\"\n";
    restart_front(rig, move |text| {
        *text = text.replacen("[slow_path]\n", &format!("[slow_path]\n{bounds}"), 1)
    });
    let watch = Watch::start(rig);
    for _ in 0..20 {
        partial(peer, 100);
    }
    watch.until(rig, ControlCounter::CollectFlowsFull, 1);
    std::thread::sleep(Duration::from_millis(2500));
    // Seven heads of 8 KiB each, in segments of 1 KiB.
    for _ in 0..7 {
        let mut connection = partial(peer, 1000);
        for part in 1..8 {
            connection.send_at(part * 1000, &[b'x'; 1000]).unwrap();
        }
    }
    watch.until(rig, ControlCounter::CollectMemoryFull, 1);
    std::thread::sleep(Duration::from_millis(2500));
    let mut connection = request(peer);
    assert_eq!(connection.response(Duration::from_secs(3)).unwrap().status, 200);
    watch.finish(rig);
}

fn restart_front(rig: &mut Rig, change: impl Fn(&mut String) + Send + Sync + 'static) {
    rig.stop("front").unwrap();
    let options: FrontOptions = stage::front_options().alter(change);
    rig.start_front(&options).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
}

fn request(peer: &Peer) -> Connection {
    let mut connection = peer.connection(Family::V4, 80, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    connection.send(b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n").unwrap();
    connection
}

/// A connection that has sent `length` bytes of a head.
fn partial(peer: &Peer, length: usize) -> Connection {
    let mut connection = peer.connection(Family::V4, 80, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    let mut head = b"GET / HTTP/1.1\r\nHost: rig\r\nX: ".to_vec();
    head.resize(length, b'x');
    connection.send(&head).unwrap();
    connection
}

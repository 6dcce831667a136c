//! Request heads that span segments, from the scripted client and from real ones that write in small pieces. The echo service
//! shows that the server got exactly the client's bytes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{
    Family, Rig,
    wire::{Connection, Flags, Offer, Peer},
};

use crate::{echo::ECHO_PORT, stage, stage::FAMILIES, watch::Watch};

/// In what order a head's segments travel.
#[derive(Clone, Copy, Debug)]
enum Order {
    InTurn,
    Reversed,
    /// The middle one is lost and repeated later.
    OneLost,
}

fn head(parts: usize) -> Vec<u8> {
    let mut head = b"GET /echo/long HTTP/1.1\r\nHost: rig\r\n".to_vec();
    for field in 0..parts * 2 {
        head.extend(format!("X-Field-{field}: value number {field}\r\n").bytes());
    }
    head.extend(b"\r\n");
    head
}

#[test]
fn a_head_in_many_segments_reaches_the_server_unchanged() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        in_many_segments(peer, family);
    }
    watch.finish(rig);
}

/// Heads in 2, 5 and 20 segments in every order; also for other set-ups.
pub(crate) fn in_many_segments(peer: &Peer, family: Family) {
    for parts in [2, 5, 20] {
        for order in [Order::InTurn, Order::Reversed, Order::OneLost] {
            segmented(peer, family, parts, order);
        }
    }
}

/// Sends a head in segments and checks the echo. What is not acknowledged is repeated, as every client does.
fn segmented(peer: &Peer, family: Family, parts: usize, order: Order) {
    let what = format!("{family:?}, {parts} segments, {order:?}");
    let head = head(parts);
    let mut connection = peer.connection(family, ECHO_PORT, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    let size = head.len().div_ceil(parts);
    let mut pieces: Vec<(usize, &[u8])> =
        head.chunks(size).enumerate().map(|(index, piece)| (index * size, piece)).collect();
    let lost = match order {
        Order::InTurn => None,
        Order::Reversed => {
            pieces.reverse();
            None
        }
        Order::OneLost => Some(pieces.remove(pieces.len() / 2)),
    };
    send_pieces(&mut connection, &pieces);
    pieces.extend(lost);
    pieces.sort_unstable_by_key(|(offset, _)| *offset);
    for attempt in 0.. {
        match connection.response(Duration::from_millis(300)) {
            Ok(response) => {
                assert_eq!(response.status, 200, "{what}");
                assert_eq!(response.body, head, "{what}");
                return;
            }
            Err(error) => assert!(attempt < 6, "{what}: {error:#}"),
        }
        send_pieces(&mut connection, &pieces);
    }
}

fn send_pieces(connection: &mut Connection, pieces: &[(usize, &[u8])]) {
    let segments: Vec<_> = pieces
        .iter()
        .map(|(offset, piece)| {
            connection.segment(u32::try_from(*offset).unwrap(), Flags::ACK.and(Flags::PSH), piece)
        })
        .collect();
    connection.transmit_all(&segments).unwrap();
}

#[test]
fn a_real_client_that_writes_in_small_pieces_is_served() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for (no_delay, pause_ms) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
            let start = Instant::now();
            let head = head(20);
            let mut stream = connect(rig, family, ECHO_PORT);
            stream.set_nodelay(no_delay).unwrap();
            for piece in head.chunks(head.len().div_ceil(20)) {
                stream.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(pause_ms));
            }
            assert_eq!(read_body(&mut stream), head, "{family:?}, no delay {no_delay}, pause {pause_ms} ms");
            // One stall of Nagle's algorithm against a delayed ACK is 40 ms; a lost segment costs 200 ms.
            let took = start.elapsed();
            assert!(took < Duration::from_secs(2), "{family:?}, no delay {no_delay}: {took:?}");
        }
    }
    watch.finish(rig);
}

#[test]
fn a_body_of_a_hundred_kilobytes_reaches_the_server_unchanged() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for _ in 0..20 {
            let mut request = b"POST /echo HTTP/1.1\r\nHost: rig\r\nContent-Length: 102400\r\n\r\n".to_vec();
            let start = request.len();
            request.resize(start + 102_400, 0);
            tests::content::fill(0, &mut request[start..]);
            let mut stream = connect(rig, family, ECHO_PORT);
            stream.write_all(&request).unwrap();
            assert!(read_body(&mut stream) == request, "{family:?}: the request came back changed");
        }
    }
    watch.finish(rig);
}

#[test]
fn segments_right_behind_a_first_request_follow_it() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for _ in 0..20 {
            let mut request = b"POST /echo HTTP/1.1\r\nHost: rig\r\nContent-Length: 3000\r\n\r\n".to_vec();
            request.resize(request.len() + 3000, b'x');
            let mut connection = peer.connection(family, ECHO_PORT, Offer::LINUX).unwrap();
            connection.handshake().unwrap();
            let pieces: Vec<(usize, &[u8])> =
                request.chunks(1000).enumerate().map(|(index, piece)| (index * 1000, piece)).collect();
            send_pieces(&mut connection, &pieces);
            let response = connection.response(Duration::from_secs(5)).unwrap();
            assert!(response.body == request, "{family:?}: the request came back changed");
        }
    }
    watch.finish(rig);
}

#[test]
fn a_collected_head_is_sent_again_while_there_is_no_response() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for server in rig.plan().server_names() {
        rig.set_slow(&server, Duration::from_millis(700)).unwrap();
    }
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.send(b"GET /slow HTTP/1.1\r\nHo").unwrap();
        connection.send(b"st: rig\r\n\r\n").unwrap();
        assert_eq!(connection.response(Duration::from_secs(5)).unwrap().status, 200);
    }
    for server in rig.plan().server_names() {
        rig.set_slow(&server, Duration::ZERO).unwrap();
    }
    watch.finish(rig);
}

#[test]
fn a_head_that_stays_incomplete_is_reset_after_its_time_limit() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        connection.send(b"GET / HTTP/1.1\r\nHo").unwrap();
        // The same again, and an ACK without data, while the head is being collected.
        connection.send_at(0, b"GET / HTTP/1.1\r\nHo").unwrap();
        connection.acknowledge().unwrap();
        let start = Instant::now();
        connection
            .expect("a RST", |segment| segment.flags.has(Flags::RST), Duration::from_secs(6))
            .unwrap_or_else(|error| panic!("{family:?}: {error:#}"));
        assert!(start.elapsed() > Duration::from_secs(1), "{family:?}: reset too early");
    }
    watch.until(rig, ControlCounter::HeadTimeout, 2);
    watch.until(rig, FrontCounter::RequestAgain, 2);
    watch.finish(rig);
}

#[test]
fn a_client_that_goes_before_its_head_is_complete_leaves_nothing() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for close in [Connection::fin, Connection::rst] {
            let mut connection = peer.connection(family, 80, Offer::LINUX).unwrap();
            connection.handshake().unwrap();
            connection.send(b"GET / HTTP/1.1\r\nHo").unwrap();
            thread::sleep(Duration::from_millis(50));
            close(&mut connection).unwrap();
            let port = u64::from(connection.source().port());
            let gone = |rows: &Vec<serde_json::Value>| !rows.iter().any(|row| row["port"] == port);
            rig.wait_for("front", "filters", Duration::from_secs(1), gone).unwrap();
        }
    }
    watch.until(rig, ControlCounter::ClientGone, 4);
    watch.finish(rig);
}

/// A real connection from the client's kernel to the VIP.
pub(crate) fn connect(rig: &Rig, family: Family, port: u16) -> TcpStream {
    let address = SocketAddr::new(rig.plan().address("vip", family), port);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
    let stream = rig.host("client").unwrap().enter(connect).unwrap().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Body of a response with a Content-Length.
pub(crate) fn read_body(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        let count = stream.read(&mut chunk).unwrap_or_else(|error| {
            panic!(
                "{error} after {} bytes: {:?}",
                bytes.len(),
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            )
        });
        assert!(count > 0, "the connection ended after {} bytes", bytes.len());
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if bytes.len() >= end + 4 + length {
            return bytes.split_off(end + 4);
        }
    }
}

//! Requests that the front-end answers itself: ambiguous ones, heads too large, other versions of HTTP, and no server to ask.

use std::{
    io::{Read, Write},
    time::Duration,
};

use dispatcher_common::counter::{BackCounter, ControlCounter};
use tests::{
    Family, Rig,
    wire::{Flags, Offer},
};

use crate::{curl, heads, stage, stage::FAMILIES, watch::Watch};

/// What RFC 9112 leaves open to two readings, or forbids.
const AMBIGUOUS: [(&str, &str); 19] = [
    (
        "Content-Length with Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("two Content-Lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"),
    ("a Content-Length that is no number", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n"),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    ("Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a bare CR", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"),
    ("a bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n"),
    ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n"),
    ("no Host", "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("a Host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("whitespace in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a control character in the target", "GET /a\u{1}b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("whitespace before a colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("another authority than Host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n"),
    ("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n"),
];

#[test]
fn every_ambiguous_request_gets_400_and_no_server_sees_it() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for (what, request) in AMBIGUOUS {
            assert_eq!(refused(rig, family, request.as_bytes()), 400, "{family:?}: {what}");
        }
    }
    assert_eq!(watch.moved(rig, BackCounter::HandoffAccepted), 0);
    watch.until(rig, ControlCounter::BadRequest, 2 * AMBIGUOUS.len() as u64);
    watch.finish(rig);
}

#[test]
fn an_ambiguous_request_in_two_segments_gets_400_too() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut stream = heads::connect(rig, family, 80);
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        stream.write_all(b"ngth: 3\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(status(&mut stream), 400);
    }
    watch.finish(rig);
}

#[test]
fn a_head_over_the_limit_gets_431() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        assert_eq!(refused(rig, family, request.as_bytes()), 431, "{family:?}");
    }
    watch.finish(rig);
}

#[test]
fn another_version_of_http_gets_505() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for request in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"] {
            assert_eq!(refused(rig, family, request.as_bytes()), 505, "{family:?}: {request:?}");
        }
    }
    watch.finish(rig);
}

#[test]
fn what_follows_an_answer_of_our_own_is_dropped_and_a_fin_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        for offer in [Offer::LINUX, Offer::NONE] {
            let mut connection = peer.connection(family, 80, offer).unwrap();
            connection.handshake().unwrap();
            connection.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").unwrap();
            let response = connection.response(Duration::from_secs(3)).unwrap();
            assert_eq!((response.status, response.closed), (400, true), "{response:?}");
            connection.send(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            connection.expect_silence(Duration::from_millis(50)).unwrap();
            connection.fin().unwrap();
            connection
                .expect("a RST", |segment| segment.flags.has(Flags::RST), Duration::from_secs(2))
                .unwrap();
        }
    }
    watch.finish(rig);
}

#[test]
fn a_request_that_no_server_can_take_gets_503() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for server in rig.plan().server_names() {
        rig.stop(&server).unwrap();
    }
    let silent = |rows: &Vec<serde_json::Value>| rows.iter().all(|row| row["state"] != "up");
    rig.wait_for("front", "servers", Duration::from_secs(3), silent).unwrap();
    for family in FAMILIES {
        let reply = curl::get(rig, &curl::url(rig, family, "/pages/1"));
        assert_eq!((reply.status, reply.server.as_str()), (503, ""));
    }
    stage::start_agents(rig);
    rig.wait_until_servers_up(Duration::from_secs(5)).unwrap();
    assert_eq!(curl::get(rig, &curl::url(rig, Family::V4, "/pages/1")).status, 200);
    watch.finish(rig);
}

/// Sends a request by a real client and gives the status of the answer, which must come from the front-end.
fn refused(rig: &Rig, family: Family, request: &[u8]) -> u16 {
    let mut stream = heads::connect(rig, family, 80);
    stream.write_all(request).unwrap();
    status(&mut stream)
}

fn status(stream: &mut std::net::TcpStream) -> u16 {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    // The front-end closes with its answer; what the client sent beyond is answered by a RST, which may cut the end.
    while let Ok(count) = stream.read(&mut chunk) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..count]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(!text.to_ascii_lowercase().contains("x-server"), "a server answered: {text}");
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer, but {text:?}"));
    status.parse().unwrap_or_else(|_| panic!("no status in {text:?}"))
}

//! Further requests that the front-end cannot follow: they reach the server as they are, at the place where the connection is, and
//! are answered as if nobody stood between.

use std::{thread, time::Duration};

use crate::{
    client::{Client, Response, get},
    dynamic, moves, stage,
    stage::{FAMILIES, WEB},
};

/// Long enough that the kernel does not make one segment of two.
const APART: Duration = Duration::from_millis(3);

fn before(client: &mut Client) -> Vec<Response> {
    (0..6).map(|number| client.get(&format!("/before/{number}"))).collect()
}

#[test]
fn a_head_that_spans_segments_is_answered() {
    let Some(stage) = stage::shared() else { return };
    let long = format!("GET /long HTTP/1.1\r\nHost: rig\r\nCookie: {}\r\n\r\n", "c".repeat(4000));
    for family in FAMILIES {
        for port in [WEB, dynamic::PORT] {
            stage.same_as_direct(family, port, |client| {
                let mut responses = before(client);
                client.send(long.as_bytes());
                responses.push(client.response());
                for part in get("/parts").as_bytes().chunks(7) {
                    client.send(part);
                    thread::sleep(APART);
                }
                responses.push(client.response());
                responses.push(client.get("/after"));
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "split_head", 4);
}

#[test]
fn a_request_in_the_segment_where_a_body_ends_is_answered() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        stage.same_as_direct(family, dynamic::PORT, |client| {
            let mut responses = before(client);
            client.send(b"POST /form HTTP/1.1\r\nHost: rig\r\nContent-Length: 10\r\n\r\n01234");
            thread::sleep(APART);
            client.send([b"56789", get("/behind").as_bytes()].concat().as_slice());
            responses.extend([client.response(), client.response()]);
            responses.push(client.get("/after"));
            responses
        });
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "straddled", 2);
}

/// Its server says what is wrong with it.
#[test]
fn what_is_no_request_is_left_to_the_server() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for odd in ["GET / HTTP/1.1\r\n no name: x\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"] {
            stage.same_as_direct(family, WEB, |client| {
                let mut responses = before(client);
                client.send(odd.as_bytes());
                let refused = client.response();
                assert_eq!(refused.status(), 400);
                assert_eq!(client.rest(), b"");
                responses.push(refused);
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "malformed", 4);
}

#[test]
fn a_body_beyond_what_sequence_numbers_can_tell_goes_on_to_its_server() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let mut client = stage.client(family, dynamic::PORT);
        before(&mut client);
        client.send(b"POST /huge HTTP/1.1\r\nHost: rig\r\nContent-Length: 3000000000\r\n\r\n");
        for _ in 0..100 {
            client.send(&[b'x'; 10_000]);
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "long_body", 2);
}

//! WebSocket: after an upgrade nothing is a request any more, whatever it looks like.

use crate::{
    client::{Client, Response, get},
    dynamic, moves, stage,
    stage::FAMILIES,
};

/// RFC 6455 section 1.3: the key of its example, and what the server must say to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

#[test]
fn frames_are_echoed_after_an_upgrade_even_if_they_look_like_requests() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        stage.same_as_direct(family, dynamic::PORT, |client| {
            let mut responses: Vec<Response> =
                (0..10).map(|number| client.get(&format!("/before/{number}"))).collect();
            responses.push(upgrade(client));
            let request = get("/not-a-request").into_bytes();
            for payload in [b"".to_vec(), b"hello".to_vec(), request.clone(), request.repeat(50)] {
                echo(client, &payload);
            }
            // The payload in a segment of its own, which begins and ends like a request.
            client.send(&header(TEXT, request.len()));
            std::thread::sleep(std::time::Duration::from_millis(5));
            client.send(&request);
            assert_eq!(read_frame(client), (TEXT, request));
            client.send(&header(CLOSE, 0));
            assert_eq!(read_frame(client), (CLOSE, Vec::new()));
            assert_eq!(client.rest(), b"");
            responses
        });
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "upgrade", 2);
    moves::happened(stage.rig(), stage.growth(), 1);
}

fn upgrade(client: &mut Client) -> Response {
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: rig\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    client.send(request.as_bytes());
    let response = client.response();
    assert_eq!((response.status(), response.header("sec-websocket-accept")), (101, Some(ACCEPT)));
    response
}

fn echo(client: &mut Client, payload: &[u8]) {
    client.send(&[header(TEXT, payload.len()).as_slice(), payload].concat());
    assert_eq!(read_frame(client), (TEXT, payload.to_vec()));
}

/// A client's frame without its payload. Its mask is zero, so that the payload goes as it is.
fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = match u8::try_from(length) {
        Ok(short @ 0..126) => vec![first, 0x80 | short],
        _ => [&[first, 0x80 | 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    bytes.extend([0; 4]);
    bytes
}

/// A server's frame.
fn read_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let mut start = [0; 2];
    client.read_exact(&mut start);
    let mut length = usize::from(start[1]);
    if length == 126 {
        let mut long = [0; 2];
        client.read_exact(&mut long);
        length = u16::from_be_bytes(long).into();
    }
    let mut payload = vec![0; length];
    client.read_exact(&mut payload);
    (start[0], payload)
}

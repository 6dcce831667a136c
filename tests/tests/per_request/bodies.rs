//! Requests with bodies, of every size and framing: the server says what it received, and whatever a body holds, only what follows
//! it is the next request.

use crate::{
    client::{Client, Response, get},
    digest, dynamic, moves, stage,
    stage::FAMILIES,
};

const SIZES: [usize; 6] = [0, 1, 1024, 1460, 100_000, 10_000_000];

/// Bytes of a chunk of an upload in chunks.
const CHUNK: usize = 30_000;

/// Bytes that look like requests, at every place where a segment may begin.
fn requests_all_over(length: usize) -> Vec<u8> {
    get("/not-a-request").into_bytes().into_iter().cycle().take(length).collect()
}

fn plain(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    tests::content::fill(7, &mut bytes);
    bytes
}

/// With the length first.
fn upload(client: &mut Client, method: &str, body: &[u8]) -> Response {
    let length = body.len();
    client.send(format!("{method} /up HTTP/1.1\r\nHost: rig\r\nContent-Length: {length}\r\n\r\n").as_bytes());
    client.send(body);
    check(client.response(), method, body)
}

fn upload_in_chunks(client: &mut Client, method: &str, body: &[u8]) -> Response {
    client
        .send(format!("{method} /up HTTP/1.1\r\nHost: rig\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    for chunk in body.chunks(CHUNK) {
        client.send(format!("{:x}\r\n", chunk.len()).as_bytes());
        client.send(chunk);
        client.send(b"\r\n");
    }
    client.send(b"0\r\n\r\n");
    check(client.response(), method, body)
}

/// Checks that the server has received this body.
fn check(response: Response, method: &str, body: &[u8]) -> Response {
    let (server, length, digest) = (response.server(), body.len(), digest::of(body));
    assert_eq!(response.text(), format!("{server} {method} /up {length} {digest:08x}\n"));
    response
}

#[test]
fn uploads_of_every_size_arrive_whole_and_requests_behind_them_move() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for make in [plain, requests_all_over] {
            stage.same_as_direct(family, dynamic::PORT, |client| {
                let mut responses = Vec::new();
                for (size, method) in SIZES.into_iter().zip(["POST", "PUT"].into_iter().cycle()) {
                    let body = make(size);
                    responses.push(upload(client, method, &body));
                    responses.extend((0..4).map(|number| client.get(&format!("/between/{number}"))));
                    responses.push(upload(client, method, &body[..size.min(2000)]));
                }
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 40);
    // Bodies follow at once, while their heads are with the slow path.
    moves::reached(stage.rig(), stage.growth(), "front", "behind_forwarded", 1);
}

#[test]
fn uploads_in_chunks_arrive_whole() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for make in [plain, requests_all_over] {
            stage.same_as_direct(family, dynamic::PORT, |client| {
                let mut responses: Vec<Response> =
                    (0..4).map(|number| client.get(&format!("/before/{number}"))).collect();
                for (size, method) in SIZES.into_iter().zip(["PUT", "POST"].into_iter().cycle()) {
                    responses.push(upload_in_chunks(client, method, &make(size)));
                    responses.push(client.get("/between"));
                }
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "chunked", 4);
}

#[test]
fn a_body_that_is_asked_for_first_arrives_after_100_continue() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        stage.same_as_direct(family, dynamic::PORT, |client| {
            let mut responses: Vec<Response> =
                (0..4).map(|number| client.get(&format!("/before/{number}"))).collect();
            for size in [1, 1460, 100_000] {
                let body = requests_all_over(size);
                let head = format!(
                    "POST /up HTTP/1.1\r\nHost: rig\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
                );
                client.send(head.as_bytes());
                let interim = client.response();
                assert_eq!(interim.status(), 100);
                responses.push(interim);
                client.send(&body);
                responses.push(check(client.response(), "POST", &body));
            }
            responses
        });
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::opaque(stage.rig(), stage.growth(), "expect", 2);
}

#[test]
fn a_refused_expectation_reaches_the_client_and_ends_the_connection() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        stage.same_as_direct(family, dynamic::PORT, |client| {
            let mut responses: Vec<Response> =
                (0..10).map(|number| client.get(&format!("/before/{number}"))).collect();
            let head =
                "PUT /refuse HTTP/1.1\r\nHost: rig\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n";
            client.send(head.as_bytes());
            responses.push(client.response());
            assert_eq!(responses.last().map(Response::status), Some(417));
            assert_eq!(client.rest(), b"");
            responses
        });
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 1);
}

#[test]
fn http_1_0_with_keep_alive_moves_as_well() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for port in [dynamic::PORT, stage::WEB] {
            stage.same_as_direct(family, port, |client| {
                let mut ask = |number: usize| {
                    let request =
                        format!("GET /id/{number} HTTP/1.0\r\nHost: rig\r\nConnection: keep-alive\r\n\r\n");
                    client.send(request.as_bytes());
                    client.response()
                };
                let mut responses: Vec<Response> = (0..20).map(&mut ask).collect();
                // Without the word the connection ends with the response.
                client.send(b"GET /id/last HTTP/1.0\r\nHost: rig\r\n\r\n");
                responses.push(client.response());
                assert_eq!(client.rest(), b"");
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 20);
}

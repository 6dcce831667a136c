//! Several requests at a time on one connection: every response comes whole and in order, as from one server.

use std::{thread, time::Duration};

use tests::{Family, content};

use crate::{
    client::{Asked, Client, Response, get},
    dynamic, moves, stage,
    stage::{FAMILIES, Stage, WEB},
};

const DEPTHS: [usize; 5] = [2, 3, 4, 8, 16];

/// A request, and what its response needs to be read.
struct Request {
    text: String,
    asked: Asked,
}

/// How requests are cut into segments.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// All at once.
    Never,
    /// After every request.
    Between,
    /// After so many bytes, wherever that is.
    Every(usize),
}

/// The `number`th of a row: all ways to frame a response and a request.
fn request(number: usize) -> Request {
    let text = match number % 6 {
        0 => get(&format!("/plain/{number}")),
        1 => get(&format!("/parts/{}?{number}", 3000 * number)),
        2 => format!("POST /form/{number} HTTP/1.1\r\nHost: rig\r\nContent-Length: 7\r\n\r\nGET / H"),
        3 => format!("HEAD /parts/5000?{number} HTTP/1.1\r\nHost: rig\r\n\r\n"),
        4 => get(&format!("/nothing/{number}")),
        _ => get(&format!("/chunks/{}?{number}", 1000 * number)),
    };
    Request { asked: if number % 6 == 3 { Asked::Head } else { Asked::Other }, text }
}

/// Sends `depth` requests, from the `first` of the row on, and reads as many responses.
fn burst(client: &mut Client, first: usize, depth: usize, cut: Cut) -> Vec<Response> {
    let requests: Vec<Request> = (first..first + depth).map(request).collect();
    let texts = || requests.iter().map(|request| request.text.as_str());
    let all: String = texts().collect();
    let segments: Vec<&[u8]> = match cut {
        Cut::Never => vec![all.as_bytes()],
        Cut::Between => texts().map(str::as_bytes).collect(),
        Cut::Every(bytes) => all.as_bytes().chunks(bytes).collect(),
    };
    for segment in segments {
        client.send(segment);
        // Long enough that the kernel does not make one segment of two.
        thread::sleep(Duration::from_micros(200));
    }
    requests.iter().map(|request| client.response_to(request.asked)).collect()
}

/// All depths with connections of their own, on which single requests go before and after.
fn bursts(stage: &Stage, cut: Cut) {
    for family in FAMILIES {
        for depth in DEPTHS {
            stage.same_as_direct(family, dynamic::PORT, |client| {
                let mut responses: Vec<Response> =
                    (0..3).map(|number| client.get(&format!("/before/{number}"))).collect();
                responses.extend(burst(client, depth, depth, cut));
                responses.extend((0..3).map(|number| client.get(&format!("/after/{number}"))));
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 5);
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let Some(stage) = stage::shared() else { return };
    bursts(&stage, Cut::Never);
}

#[test]
fn requests_in_a_row_of_segments_are_answered_in_order() {
    let Some(stage) = stage::shared() else { return };
    bursts(&stage, Cut::Between);
}

#[test]
fn requests_that_begin_anywhere_in_segments_are_answered_in_order() {
    let Some(stage) = stage::shared() else { return };
    for bytes in [17, 61, 200] {
        bursts(&stage, Cut::Every(bytes));
    }
}

/// The next request arrives while the server pauses within a response.
#[test]
fn a_request_in_the_middle_of_a_response_waits_for_its_end() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for kind in ["parts", "chunks"] {
            let through = stage.same_as_direct(family, dynamic::PORT, |client| {
                client.send(get(&format!("/{kind}/40000?0")).as_bytes());
                let mut responses = Vec::new();
                for number in 1..16 {
                    // Half of the response is on its way or here, the other half is not written yet.
                    thread::sleep(Duration::from_millis(8));
                    client.send(get(&format!("/{kind}/{}?{number}", 40_000 + number)).as_bytes());
                    responses.push(client.response());
                }
                responses.push(client.response());
                responses
            });
            for response in &through {
                assert_eq!(content::first_difference(0, &response.body), None);
            }
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::reached(stage.rig(), stage.growth(), "server", "move_kept_busy", 10);
}

/// nginx, too, keeps order; and when nothing is under way any more, the connection moves again.
#[test]
fn after_a_burst_requests_move_again() {
    let Some(stage) = stage::shared() else { return };
    for _ in 0..10 {
        let mut client = stage.client(Family::V4, WEB);
        for depth in [2, 16] {
            let requests: String = (0..depth).map(|number| get(&format!("/id/{number}"))).collect();
            client.send(requests.as_bytes());
            for number in 0..depth {
                let response = client.response();
                assert_eq!(response.text(), format!("{} /id/{number} \n", response.server()));
            }
        }
        for number in 0..10 {
            assert_eq!(client.get(&format!("/id/{number}")).status(), 200);
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 30);
}

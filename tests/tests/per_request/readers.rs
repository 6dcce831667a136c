//! Clients that read slowly: while any of a response is still to be sent or acknowledged, nobody takes the connection away from its
//! server; later requests move again.

use std::{
    thread,
    time::{Duration, Instant},
};

use tests::{
    content,
    wire::{Connection, Offer, Response as Scripted},
};

use crate::{
    client::{Client, get},
    moves, stage,
    stage::{FAMILIES, Stage, WEB},
};

const SMALL_BUFFER: usize = 8 << 10;
const LARGE: &str = "/bytes/1m";
const TURNS: usize = 10;

/// The receive window is closed while the next request goes out.
#[test]
fn a_request_behind_a_response_that_is_not_read_stays() {
    let Some(stage) = stage::shared() else { return };
    for turn in 0..TURNS {
        let family = FAMILIES[turn % 2];
        let to = stage::address(stage.rig(), "vip", family, WEB);
        let mut client = Client::with_buffer(stage.client_host(), to, Some(SMALL_BUFFER));
        client.get("/id/first");
        client.send(get(LARGE).as_bytes());
        thread::sleep(Duration::from_millis(60));
        let moved = moves::of_flow(stage.rig(), client.source());
        let lost = moves::grown(stage.rig(), stage.growth(), "server", "response_lost");
        let begun = moves::grown(stage.rig(), stage.growth(), "server", "move_begun");
        client.send(get("/id/second").as_bytes());
        thread::sleep(Duration::from_millis(60));
        let later = moves::grown(stage.rig(), stage.growth(), "server", "move_begun");
        assert_eq!(later, begun, "a connection began to move while its response was not read");
        let (large, second) = (client.response(), client.response());
        assert_eq!(content::first_difference(0, &large.body), None);
        assert_eq!(large.body.len(), 1 << 20);
        assert_eq!(large.server(), second.server(), "it has gone to another server nevertheless");
        assert_eq!(second.text(), format!("{} /id/second \n", second.server()));
        assert_eq!(moves::of_flow(stage.rig(), client.source()), moved);
        for number in 0..15 {
            client.get(&format!("/id/{number}"));
        }
        // The window may have cut the second response in its head, which nobody follows.
        let is_followed = moves::grown(stage.rig(), stage.growth(), "server", "response_lost") == lost;
        let goes_on = moves::of_flow(stage.rig(), client.source()) > moved;
        assert_eq!(goes_on, is_followed, "whether it moves, and whether it is still followed");
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::reached(stage.rig(), stage.growth(), "server", "move_kept_busy", 1);
    moves::happened(stage.rig(), stage.growth(), 3 * TURNS as u64);
}

/// Reads in small portions with pauses, and asks again as soon as all is read.
#[test]
fn a_reader_with_pauses_gets_every_byte() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let to = stage::address(stage.rig(), "vip", family, WEB);
        let mut client = Client::with_buffer(stage.client_host(), to, Some(SMALL_BUFFER));
        let direct = stage.direct(family, WEB).get("/bytes/64k");
        let head = direct.head.len();
        for number in 0..15 {
            client.send(get("/bytes/64k").as_bytes());
            let mut bytes = vec![0; head + direct.body.len()];
            for portion in bytes.chunks_mut(16 << 10) {
                client.read_exact(portion);
                thread::sleep(Duration::from_millis(3));
            }
            assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(content::first_difference(0, &bytes[head..]), None, "response {number}");
            moves::acknowledged(stage.rig(), client.source(), bytes.len() as u64);
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 10);
}

/// A request that acknowledges only half of the response before it.
#[test]
fn a_request_behind_a_response_that_is_half_acknowledged_stays() {
    let Some(stage) = stage::shared() else { return };
    for turn in 0..TURNS {
        let mut connection = stage.peer().connection(FAMILIES[turn % 2], WEB, Offer::LINUX).unwrap();
        connection.handshake().unwrap();
        let first = half_acknowledged(&stage, &mut connection);
        let begun = moves::grown(stage.rig(), stage.growth(), "server", "move_begun");
        connection.send(get("/id/second").as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(30));
        let later = moves::grown(stage.rig(), stage.growth(), "server", "move_begun");
        assert_eq!(later, begun, "a connection began to move while its response was not acknowledged");
        let large = connection.response(Duration::from_secs(5)).unwrap();
        assert_eq!((large.body.len(), content::first_difference(0, &large.body)), (64 << 10, None));
        let second = connection.response(Duration::from_secs(5)).unwrap();
        assert_eq!((&large.server, &second.server), (&first.server, &first.server));
        for number in 0..10 {
            let response = connection.get(&format!("/id/{number}")).unwrap();
            let server = response.server.unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&response.body), format!("{server} /id/{number} \n"));
        }
    }
    moves::reached(stage.rig(), stage.growth(), "server", "move_kept_busy", 1);
    moves::happened(stage.rig(), stage.growth(), 3 * TURNS as u64);
}

/// Leaves a connection with the first half of a large response acknowledged; gives the response to a request before, of which it
/// has learnt who has the connection.
fn half_acknowledged(stage: &Stage, connection: &mut Connection) -> Scripted {
    loop {
        let before = connection.get("/id/first").unwrap();
        let here = before.server.clone().unwrap_or_default();
        let requests = |server: &str| stage.growth().of(stage.rig(), server, "response_started").unwrap();
        let answered = requests(&here);
        connection.send(get("/bytes/64k").as_bytes()).unwrap();
        let start = connection.expected();
        let deadline = Instant::now() + Duration::from_secs(5);
        while connection.expected().wrapping_sub(start) < 32 << 10 {
            let received = connection.receive(deadline).unwrap().expect("half of a response");
            assert!(connection.accept(received).unwrap().is_none());
        }
        if requests(&here) > answered {
            return before;
        }
        // It has moved to another server with the large request: once more.
        connection.response(Duration::from_secs(5)).unwrap();
    }
}

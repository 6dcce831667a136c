//! Servers that close connections for their own reasons, at the moment of a move and otherwise: a client has a response or an end,
//! and an end only when there is a reason for it.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::{
    client::{Asked, Client, Response},
    dynamic, moves, stage,
    stage::{FAMILIES, IMPATIENT},
};

const CLIENTS: usize = 24;
const TIME: Duration = Duration::from_secs(8);

/// Idle times end so long before and after nginx closes an idle connection.
const AROUND: Duration = Duration::from_millis(12);

/// After an idle time above this, a connection may have ended.
const LONG: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    responses: u64,
    /// Connections that ended, with a FIN or a RST, where one was due.
    closed: u64,
    reset: u64,
    /// Requests at about the time at which the server closes that were answered.
    in_time: u64,
}

#[test]
fn a_request_at_the_time_when_its_server_closes_has_a_response_or_a_clean_end() {
    let Some(stage) = stage::shared() else { return };
    let targets = FAMILIES.map(|family| stage::address(stage.rig(), "vip", family, IMPATIENT.port));
    let seen = stage.client_host().enter(|| all_clients(&targets)).unwrap();
    eprintln!("{seen:?}");
    assert!(seen.closed > 20 && seen.in_time > 20, "closing and requests hardly met: {seen:?}");
    assert!(seen.responses > 1000, "{seen:?}");
    moves::happened(stage.rig(), stage.growth(), 300);
}

/// Inside the client's host.
fn all_clients(targets: &[SocketAddr; 2]) -> Seen {
    let end = Instant::now() + TIME;
    thread::scope(|scope| {
        let start = |client: usize| scope.spawn(move || ask(targets[client % 2], client as u64, end));
        let threads: Vec<_> = (0..CLIENTS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Seen::default(), |sum, seen| Seen {
            responses: sum.responses + seen.responses,
            closed: sum.closed + seen.closed,
            reset: sum.reset + seen.reset,
            in_time: sum.in_time + seen.in_time,
        })
    })
}

fn ask(to: SocketAddr, seed: u64, end: Instant) -> Seen {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut seen = Seen::default();
    while Instant::now() < end {
        one_connection(&mut Client::connect_inside(to, None).unwrap(), &mut random, &mut seen);
    }
    seen
}

/// Asks until the connection ends.
fn one_connection(client: &mut Client, random: &mut Pcg64Mcg, seen: &mut Seen) {
    let mut is_last = false;
    let mut since = Instant::now();
    for number in 0.. {
        if number > 0 {
            thread::sleep(idle_time(random));
        }
        let idle = since.elapsed();
        let id = format!("{:x}", random.random::<u32>());
        let sent = client
            .try_send(format!("GET /{number} HTTP/1.1\r\nHost: rig\r\nX-Request: {id}\r\n\r\n").as_bytes());
        match sent.and_then(|()| client.try_response(Asked::Other)) {
            Ok(Some(response)) => {
                assert!(!is_last, "a response after the one that was the last: {response:?}");
                assert_eq!(response.text(), format!("{} /{number} {id}\n", response.server()));
                is_last = response.header("connection") == Some("close");
                seen.responses += 1;
                seen.in_time += u64::from(idle > LONG);
                since = Instant::now();
            }
            ended => {
                assert!(is_last || idle > LONG, "{ended:?} after {number} requests and {idle:?}");
                seen.closed += u64::from(matches!(ended, Ok(None)));
                seen.reset += u64::from(ended.is_err_and(|error| is_reset(&error)));
                return;
            }
        }
    }
}

fn idle_time(random: &mut Pcg64Mcg) -> Duration {
    if random.random_bool(0.7) {
        return Duration::from_micros(random.random_range(0..5000));
    }
    let around_us = AROUND.as_micros() as u64;
    IMPATIENT.keepalive - AROUND + Duration::from_micros(random.random_range(0..2 * around_us))
}

/// Whether the connection ended by a RST; anything else is no end at all.
fn is_reset(error: &io::Error) -> bool {
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
    true
}

/// Nothing but the server's FIN tells where such a response ends.
#[test]
fn a_response_that_ends_with_its_connection_arrives_whole() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        for length in [0, 1, 100_000] {
            stage.same_as_direct(family, dynamic::PORT, |client| {
                let mut responses: Vec<Response> =
                    (0..6).map(|number| client.get(&format!("/before/{number}"))).collect();
                responses.push(client.get(&format!("/stream/{length}")));
                assert_eq!(responses.last().map(|last| last.body.len()), Some(length));
                responses
            });
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::reached(stage.rig(), stage.growth(), "server", "response_lost", 1);
    moves::happened(stage.rig(), stage.growth(), 6);
}

//! Very many requests over few kept connections: each is answered rightly, to the byte, whoever answers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use tests::Family;

use crate::{
    client::{Asked, Client, Response},
    moves, stage,
    stage::{FAMILIES, WEB},
};

/// Connections; each thread has its part of them.
const CONNECTIONS: usize = 64;
const THREADS: usize = 4;

/// Requests in a usual run. `DISPATCHER_REQUESTS=1000000` makes it a million.
const REQUESTS: usize = 200_000;

/// Paths that come again and again, so that the class cache knows them.
const PATHS: usize = 97;

/// One request of so many is for a target that never comes again, and goes through the slow path.
const RARE: usize = 32;

/// What counts a further request on its ways: by the program and by the slow path, to the same server and to another.
const WAYS: [(&str, &str); 7] = [
    ("front", "further_stayed"),
    ("front", "further_moving"),
    ("front", "further_asked"),
    ("front", "further_stayed_slow"),
    ("front", "further_moving_slow"),
    ("server", "request_booked"),
    ("server", "move_begun"),
];

/// What one connection has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    by_server: BTreeMap<String, u64>,
    last: String,
    /// Responses from another server than the one before.
    changes: u64,
}

impl Seen {
    fn take(&mut self, response: &Response, target: &str, id: usize) {
        let server = response.server();
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.text(), format!("{server} {target} {id}\n"));
        self.changes += u64::from(!self.last.is_empty() && self.last != server);
        self.last = server.to_owned();
        *self.by_server.entry(server.to_owned()).or_default() += 1;
    }
}

#[test]
fn each_of_very_many_requests_is_answered_right_by_a_random_server() {
    let Some(stage) = stage::shared() else { return };
    let requests = std::env::var("DISPATCHER_REQUESTS").map_or(REQUESTS, |number| number.parse().unwrap());
    let start = Instant::now();
    let targets = FAMILIES.map(|family| stage::address(stage.rig(), "vip", family, WEB));
    let seen = stage.client_host().enter(|| all_connections(&targets, requests)).unwrap();
    let mut by_server: BTreeMap<String, u64> = BTreeMap::new();
    for (server, count) in seen.iter().flat_map(|seen| &seen.by_server) {
        *by_server.entry(server.clone()).or_default() += count;
    }
    let changes: u64 = seen.iter().map(|seen| seen.changes).sum();
    let rate = requests as f64 / start.elapsed().as_secs_f64();
    eprintln!(
        "{requests} requests, {rate:.0} a second, {changes} from another server than before: {by_server:?}"
    );
    assert_eq!(responses(&seen), requests as u64);
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), requests as u64 / 2);
    // A move that needs the client's repetition costs 200 ms. A socket that its software holds locked is a reason, but a rare one.
    let repeated = moves::grown(stage.rig(), stage.growth(), "front", "further_repeated");
    assert!(repeated <= requests as u64 / 1000, "{repeated} requests had to be repeated");
    for (role, name) in WAYS {
        moves::reached(stage.rig(), stage.growth(), role, name, 1);
    }
    spread_evenly(&by_server, changes);
}

/// A random one of three is another one than before two times of three.
fn spread_evenly(by_server: &BTreeMap<String, u64>, changes: u64) {
    let requests: u64 = by_server.values().sum();
    assert_eq!(by_server.len(), 3);
    for (server, count) in by_server {
        let share = *count as f64 / requests as f64;
        assert!((0.30..0.37).contains(&share), "{server} answered {share:.3} of all requests");
    }
    assert!(changes > requests / 2, "{changes} changes in {requests} requests");
}

/// Of all connections.
pub(crate) fn responses(seen: &[Seen]) -> u64 {
    seen.iter().flat_map(|seen| seen.by_server.values()).sum()
}

/// Inside the client's host, where threads that a thread starts stay.
pub(crate) fn all_connections(targets: &[SocketAddr; 2], requests: usize) -> Vec<Seen> {
    let each = requests.div_ceil(CONNECTIONS);
    let of_thread = |thread: usize| {
        let numbers = (thread..CONNECTIONS).step_by(THREADS);
        let counts = numbers.map(|number| (number, each.min(requests.saturating_sub(number * each))));
        rounds(targets, &counts.collect::<Vec<_>>())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || of_thread(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Sends a request on each of these connections, then reads all responses, and again. `counts` are numbers of connections with
/// their requests.
fn rounds(targets: &[SocketAddr; 2], counts: &[(usize, usize)]) -> Vec<Seen> {
    let connect = |(number, _): &(usize, usize)| Client::connect_inside(targets[number / THREADS % 2], None);
    let mut clients: Vec<Client> = counts.iter().map(|count| connect(count).unwrap()).collect();
    let mut seen = vec![Seen::default(); counts.len()];
    for round in 0..counts.iter().map(|(_, count)| *count).max().unwrap_or(0) {
        let id = |index: usize| round * CONNECTIONS + counts[index].0;
        let goes_on = |index: &usize| round < counts[*index].1;
        for index in (0..counts.len()).filter(goes_on) {
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: rig\r\nX-Request: {}\r\n\r\n",
                target(id(index)),
                id(index)
            );
            clients[index].send(request.as_bytes());
        }
        for index in (0..counts.len()).filter(goes_on) {
            let response = clients[index].response_to(Asked::Other);
            seen[index].take(&response, &target(id(index)), id(index));
        }
    }
    seen
}

fn target(id: usize) -> String {
    if id.is_multiple_of(RARE) { format!("/id/rare?{id}") } else { format!("/id/{}", id % PATHS) }
}

#[test]
fn files_of_every_size_are_the_same_as_from_a_server_itself() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        stage.same_as_direct(family, WEB, |client| {
            let files = ["4", "1k", "8k", "64k", "1m"];
            files.into_iter().cycle().take(50).map(|file| client.get(&format!("/bytes/{file}"))).collect()
        });
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 30);
}

/// Idle for longer than anything in the kernel waits, a connection goes on.
#[test]
fn connections_go_on_after_a_while_without_requests() {
    let Some(stage) = stage::shared() else { return };
    let mut clients: Vec<Client> = (0..8).map(|_| stage.client(Family::V4, WEB)).collect();
    for round in 0..6 {
        for (number, client) in clients.iter_mut().enumerate() {
            let response = client.get(&format!("/id/{round}/{number}"));
            assert_eq!(response.text(), format!("{} /id/{round}/{number} \n", response.server()));
        }
        thread::sleep(Duration::from_millis(400));
    }
    moves::happened(stage.rig(), stage.growth(), 10);
}

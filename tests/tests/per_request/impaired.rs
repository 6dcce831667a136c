//! Links that lose, repeat and reorder one packet of twenty each: every byte is right and no connection gets stuck.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tests::{Impaired, Impairment, Rig, content};

use crate::{
    client::Client,
    moves, stage,
    stage::{FAMILIES, WEB},
};

const SHARE: f64 = 0.05;
const SEED: u64 = 5;
const CLIENTS: usize = 32;
const TIME: Duration = Duration::from_secs(15);

/// For a response. TCP doubles its time-out with every loss in a row, and 200 ms are its least.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files, small ones more often.
const FILES: [&str; 6] = ["4", "4", "1k", "1k", "8k", "64k"];

#[test]
fn lost_repeated_and_reordered_packets_change_no_byte() {
    let Some(stage) = stage::shared() else { return };
    segmentation(stage.rig(), "off");
    let targets = FAMILIES.map(|family| stage::address(stage.rig(), "vip", family, WEB));
    let impairment = Impairment::start(stage.rig(), SHARE, SEED).unwrap();
    let seen = stage.client_host().enter(|| all_clients(&targets)).unwrap();
    let tally = impairment.tally();
    drop(impairment);
    segmentation(stage.rig(), "on");
    let longest = seen.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
    let responses: usize = seen.iter().map(|(responses, _)| responses).sum();
    eprintln!("seed {SEED}: {responses} responses, the longest after {longest:?}; {tally:?}");
    for host in ["client", "front", "server1", "server2", "server3"] {
        let Impaired { lost, repeated, late } = tally[host];
        assert!(lost > 20 && repeated > 20 && late > 20, "hardly anything befell packets to {host}");
    }
    assert!(responses > 500, "only {responses} responses");
    moves::happened(stage.rig(), stage.growth(), 200);
    moves::reached(stage.rig(), stage.growth(), "front", "further_repeated", 1);
}

/// Segmentation in the servers' kernels, so that every segment is drawn for itself.
fn segmentation(rig: &Rig, state: &str) {
    for server in rig.plan().server_names() {
        let line = format!("/usr/sbin/ethtool -K eth0 tso {state} gso {state}");
        rig.host(&server).unwrap().run(&line).unwrap();
    }
}

/// Inside the client's host; gives each client's responses and its longest time for one.
fn all_clients(targets: &[SocketAddr; 2]) -> Vec<(usize, Duration)> {
    let end = Instant::now() + TIME;
    thread::scope(|scope| {
        let start = |client: usize| scope.spawn(move || ask(targets[client % 2], client, end));
        let threads: Vec<_> = (0..CLIENTS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asks on one connection until the time is up.
fn ask(to: SocketAddr, number: usize, end: Instant) -> (usize, Duration) {
    let mut random = Pcg64Mcg::seed_from_u64(SEED + number as u64);
    let mut client = Client::connect_inside(to, None).unwrap();
    client.be_patient(PATIENCE);
    let (mut responses, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        if random.random_bool(0.5) {
            let target = format!("/id/{number}/{}", random.random_range(0..20));
            let response = client.get(&target);
            assert_eq!(response.text(), format!("{} {target} \n", response.server()));
        } else {
            let file = FILES[random.random_range(0..FILES.len())];
            let response = client.get(&format!("/bytes/{file}"));
            assert_eq!(Some(response.body.len() as u64), content::size_of_file(file));
            assert_eq!(content::first_difference(0, &response.body), None, "{file}");
        }
        responses += 1;
        longest = longest.max(start.elapsed());
    }
    (responses, longest)
}

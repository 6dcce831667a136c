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
    digest, dynamic, moves, stage,
    stage::{FAMILIES, WEB},
};

const SHARE: f64 = 0.05;
const SEED: u64 = 5;
const CLIENTS: usize = 32;
const TIME: Duration = Duration::from_secs(15);

/// For a response. TCP doubles its time-out with every loss in a row, and 200 ms are its least: eight in a row make 51 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files, small ones more often.
const FILES: [&str; 6] = ["4", "4", "1k", "1k", "8k", "64k"];

#[test]
fn lost_repeated_and_reordered_packets_change_no_byte() {
    let Some(stage) = stage::shared() else { return };
    segmentation(stage.rig(), "off");
    let targets = [WEB, dynamic::PORT]
        .map(|port| (port, FAMILIES.map(|family| stage::address(stage.rig(), "vip", family, port))));
    let before = Kernels::of(stage.rig());
    let impairment = Impairment::start(stage.rig(), SHARE, SEED).unwrap();
    let seen = stage.client_host().enter(|| all_clients(&targets)).unwrap();
    let tally = impairment.tally();
    drop(impairment);
    segmentation(stage.rig(), "on");
    let longest = seen.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
    let responses: usize = seen.iter().map(|(responses, _)| responses).sum();
    let saw = Kernels::of(stage.rig()).since(before);
    eprintln!("{saw:?}");
    eprintln!("seed {SEED}: {responses} responses, the longest after {longest:?}; {tally:?}");
    for host in ["client", "front", "server1", "server2", "server3"] {
        let Impaired { lost, repeated, late } = tally[host];
        assert!(lost > 20 && repeated > 20 && late > 20, "hardly anything befell packets to {host}");
    }
    assert!(saw.reordered > 0 && saw.repeated > 0 && saw.resent > 0, "no kernel noticed: {saw:?}");
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

/// What the servers' kernels have noticed of links.
#[derive(Clone, Copy, Debug)]
struct Kernels {
    /// Segments that turned out to be late, not lost.
    reordered: u64,
    /// Segments that the client had twice, as it said.
    repeated: u64,
    resent: u64,
}

impl Kernels {
    fn of(rig: &Rig) -> Self {
        let servers = rig.plan().server_names();
        let texts: Vec<String> = servers
            .iter()
            .map(|server| rig.host(server).unwrap().run("cat /proc/net/netstat /proc/net/snmp").unwrap())
            .collect();
        let sum =
            |names: &[&str]| texts.iter().flat_map(|text| names.iter().map(|name| counted(text, name))).sum();
        Self {
            reordered: sum(&["TCPSACKReorder", "TCPTSReorder"]),
            repeated: sum(&["TCPDSACKRecv", "TCPDSACKOfoRecv"]),
            resent: sum(&["RetransSegs"]),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            reordered: self.reordered - before.reordered,
            repeated: self.repeated - before.repeated,
            resent: self.resent - before.resent,
        }
    }
}

/// A counter of the kernel's: lines come in pairs, one with names, one with values.
fn counted(text: &str, name: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let value = lines.chunks(2).find_map(|pair| {
        let at = pair[0].split(' ').position(|known| known == name)?;
        pair[1].split(' ').nth(at)?.parse().ok()
    });
    value.unwrap_or_else(|| panic!("the kernel does not count {name}"))
}

/// A port and its addresses.
type Target = (u16, [SocketAddr; 2]);

/// Inside the client's host; gives each client's responses and its longest time for one.
fn all_clients(targets: &[Target; 2]) -> Vec<(usize, Duration)> {
    let end = Instant::now() + TIME;
    thread::scope(|scope| {
        let start = |client: usize| {
            let (port, addresses) = targets[client / 2 % 2];
            scope.spawn(move || one_client(addresses[client % 2], port, client, end))
        };
        let threads: Vec<_> = (0..CLIENTS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asks on one connection until the time is up.
fn one_client(to: SocketAddr, port: u16, number: usize, end: Instant) -> (usize, Duration) {
    let mut random = Pcg64Mcg::seed_from_u64(SEED + number as u64);
    let mut client = Client::connect_inside(to, None).unwrap();
    client.be_patient(PATIENCE);
    let (mut responses, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        match port {
            WEB => ask_for_file(&mut client, &mut random),
            _ => upload_or_ask(&mut client, &mut random),
        }
        responses += 1;
        longest = longest.max(start.elapsed());
    }
    (responses, longest)
}

fn ask_for_file(client: &mut Client, random: &mut Pcg64Mcg) {
    let number = random.random_range(0..300);
    let Some(file) = FILES.get(number % (2 * FILES.len())) else {
        let response = client.get(&format!("/id/{number}"));
        assert_eq!(response.text(), format!("{} /id/{number} \n", response.server()));
        return;
    };
    let response = client.get(&format!("/bytes/{file}"));
    assert_eq!(Some(response.body.len() as u64), content::size_of_file(file));
    assert_eq!(content::first_difference(0, &response.body), None, "{file}");
}

/// The dynamic server's answers: to uploads, and in parts.
fn upload_or_ask(client: &mut Client, random: &mut Pcg64Mcg) {
    let length = random.random_range(0..20_000);
    if random.random_bool(0.5) {
        let response = client.get(&format!("/parts/{length}"));
        assert_eq!((response.body.len(), content::first_difference(0, &response.body)), (length, None));
        return;
    }
    let mut body = vec![0; length];
    content::fill(0, &mut body);
    client.send(format!("POST /up HTTP/1.1\r\nHost: rig\r\nContent-Length: {length}\r\n\r\n").as_bytes());
    client.send(&body);
    let response = client.response();
    let wanted = format!("{} POST /up {length} {:08x}\n", response.server(), digest::of(&body));
    assert_eq!(response.text(), wanted);
}

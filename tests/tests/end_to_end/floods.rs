//! A flood, of spoofed packets or of connections that come to nothing, costs no memory and locks nobody out.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{
    Family, Rig, Sources, Spoofed, source_ipv4,
    wire::{Flags, Offer, PacketSocket, Peer, Segment},
};

use crate::{
    crowd, curl,
    insider::{Insider, insider_address},
    stage::{self, Web},
    watch::Watch,
};

const SYNS: u32 = 100_000;
const BURST: u32 = 250;

#[test]
fn a_hundred_thousand_spoofed_syns_leave_no_trace_and_a_real_client_is_served() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    // The first requests have made the process as large as it is.
    let urls = vec![curl::url(rig, Family::V4, "/pages/warm"); 50];
    curl::in_turn(rig, &urls);
    let watch = Watch::start(rig);
    let front = rig.process("front").unwrap().id();
    let before = resident_kib(front);
    let flooding = AtomicBool::new(true);
    let served = thread::scope(|scope| {
        let client = scope.spawn(|| serve_while(rig, &flooding));
        for (family, count) in [(Family::V4, SYNS), (Family::V6, SYNS / 5)] {
            flood(peer, count, |number| spoofed(peer, family, number, Flags::SYN, b""));
        }
        // Data and ACKs without a cookie, too.
        flood(peer, SYNS / 5, |number| spoofed(peer, Family::V4, number, Flags::ACK, b"GET / HTTP/1.1"));
        flooding.store(false, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(served > 10, "only {served} requests were served during the flood");
    watch.until(rig, FrontCounter::SynAnswered, u64::from(SYNS / 5 * 6) + served);
    // One guess in 2048 passes for a later segment of a fresh flow, and is dropped without an answer.
    watch.until(rig, FrontCounter::CookieRefused, u64::from(SYNS / 5 - SYNS / 5 / 200));
    assert_eq!(watch.dispatched(rig), served, "only the real client's requests were dispatched");
    let real = [Family::V4, Family::V6].map(|family| rig.plan().address("client", family).to_string());
    let mut filters = rig.show("front", "filters").unwrap();
    filters.retain(|row| !real.iter().any(|client| row["client"] == client.as_str()));
    let near =
        |row: &serde_json::Value| row["client"].as_str().is_some_and(|client| client.starts_with("198.19."));
    assert!(!filters.iter().any(near), "a spoofed packet made a filter: {filters:?}");
    let grown = resident_kib(front).saturating_sub(before);
    assert!(grown < 4096, "the front-end has grown by {grown} KiB");
    watch.finish(rig);
}

/// Requests one after the other until the flood is over; gives their number.
fn serve_while(rig: &Rig, flooding: &AtomicBool) -> u64 {
    let url = curl::url(rig, Family::V4, "/pages/flood");
    let mut served = 0;
    while flooding.load(Ordering::Relaxed) {
        let reply = curl::get(rig, &url);
        curl::check_text(&reply, "/pages/flood");
        served += 1;
    }
    served
}

fn flood(peer: &Peer, count: u32, make: impl Fn(u32) -> Segment) {
    let socket: PacketSocket = peer.sender().unwrap();
    let (from, to) = peer.macs();
    for burst in 0..count / BURST {
        let numbers = burst * BURST..(burst + 1) * BURST;
        let frames: Vec<Vec<u8>> = numbers.map(|number| make(number).frame(from, to).unwrap()).collect();
        socket.send_all(frames.iter().map(Vec::as_slice)).unwrap();
        // The link's queue holds 1000 packets or so; what overflows it would prove nothing.
        thread::sleep(Duration::from_micros(500));
    }
}

fn spoofed(peer: &Peer, family: Family, number: u32, flags: Flags, payload: &[u8]) -> Segment {
    let [_, _, high, low] = number.to_be_bytes();
    let source: IpAddr = match family {
        Family::V4 => Ipv4Addr::new(198, 19, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, high.into(), low.into()).into(),
    };
    let port = 1024 + u16::try_from(number >> 16).unwrap_or(0);
    Segment {
        source: (source, port).into(),
        destination: (peer.vip(family), 80).into(),
        seq: number.wrapping_mul(0x9e37_79b9),
        ack: if flags == Flags::SYN { 0 } else { number.wrapping_mul(0x85eb_ca6b) },
        flags,
        window: 65_535,
        options: if flags == Flags::SYN { Offer::LINUX.encode(number) } else { Vec::new() },
        payload: payload.to_vec(),
        hop_limit: 60,
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

const MANY_SYNS: u32 = 5_000_000;

/// Sources of the flood by priority: a SYN is ignored, reset, or answered as its refusal is a response.
const SPOOFED_RULES: u32 = 100_000;

fn spoofed_rules() -> String {
    let host = |number: u32| Ipv4Addr::from(0xc613_0000 + number);
    let below = |number: u32| format!("{}/32 * - {}\n", host(number), number % 3);
    // The rest is there to be looked through.
    let rest = |number: u32| format!("{}/32 * - 5\n", Ipv4Addr::from(0x0a00_0000 + number));
    let spoofed: String = (0..60_000).map(below).collect();
    let kept = "198.19.255.0/24 * - 2\n";
    spoofed + kept + &(60_001..SPOOFED_RULES).map(rest).collect::<String>()
}

#[test]
fn five_million_spoofed_syns_meet_admission_and_a_real_client_is_served() {
    let admission = "\
connection_limit = 400
evictions_per_second = 0
load_bound = \"none\"
refusals = { 0 = \"drop\", 1 = \"reset\" }";
    let members = spoofed_rules();
    let Some(mut stage) = stage::with_web(&Web { members: &members, admission, ..Web::default() }) else {
        return;
    };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    // Full, so that SYNs are judged. The real client comes in above the limit: a hundred may, for want of those who give way.
    let full = (0..400).map(|host| SocketAddr::new(source_ipv4(0xff00 + host % 256).into(), 0));
    let kept = crowd::arrive(&sources, full);
    assert_eq!(rig.show("front", "admission").unwrap()[0]["rules"], SPOOFED_RULES);
    let watch = Watch::start(rig);
    let front = rig.process("front").unwrap().id();
    let rig = &*rig;
    let one_cpu = rig.on_one_cpu().unwrap();
    let quiet = waits_while(rig, || thread::sleep(Duration::from_secs(1)));
    let before = (resident_kib(front), Instant::now());
    let busy = waits_while(rig, || rig.flood_with_syns(MANY_SYNS, 80, Spoofed::Near).unwrap());
    let took = before.1.elapsed();
    drop(one_cpu);
    let [quiet_p99, busy_p99] = [&quiet, &busy].map(|waits| waits[waits.len() * 99 / 100]);
    eprintln!(
        "{MANY_SYNS} SYNs in {took:?}; {} requests quiet, p99 {quiet_p99:?}; {} during the flood, p99 {busy_p99:?}",
        quiet.len(),
        busy.len()
    );
    assert!(busy.len() > 10, "only {} requests were served during the flood", busy.len());
    let ways = [FrontCounter::SynRefusedDropped, FrontCounter::SynRefusedReset, FrontCounter::SynAnswered];
    let [ignored, reset, answered] = ways.map(|counter| watch.moved(rig, counter));
    eprintln!("{ignored} were ignored, {reset} reset, {answered} answered");
    let counted = ignored + reset + answered;
    let real = (quiet.len() + busy.len()) as u64;
    // All but what a full link lost while others had the CPU.
    assert!(counted > u64::from(MANY_SYNS) / 100 * 95, "only {counted} were counted");
    assert!(
        busy_p99 < 3 * quiet_p99.max(Duration::from_millis(1)),
        "p99 {quiet_p99:?} quiet, {busy_p99:?} now"
    );
    assert!(ignored > counted / 5 && reset > counted / 5 && answered > counted / 5);
    let refused = crowd::tallies(rig, "refused_syn");
    assert_eq!((refused[0], refused[1]), (ignored, reset));
    assert_eq!(watch.dispatched(rig), real, "only the real client's were dispatched");
    assert_eq!(crowd::filters(rig, "198.19.").len(), kept.len(), "a spoofed packet made a filter");
    let grown = resident_kib(front).saturating_sub(before.0);
    // The slow path's frames are memory once thousands of requests have been in them; SYNs would be more, whatever was kept of them.
    assert!(grown < 16_384, "the front-end has grown by {grown} KiB");
    watch.finish(rig);
}

/// How long each request of a real client takes while something else goes on, in order of length.
fn waits_while(rig: &Rig, other: impl FnOnce()) -> Vec<Duration> {
    let going_on = AtomicBool::new(true);
    let client = rig.host("client").unwrap();
    let vip = SocketAddr::new(rig.plan().address("vip", Family::V4), 80);
    let one = || {
        let start = Instant::now();
        let mut stream = TcpStream::connect_timeout(&vip, crowd::PATIENCE).unwrap();
        stream.set_read_timeout(Some(crowd::PATIENCE)).unwrap();
        stream.write_all(b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        start.elapsed()
    };
    let all = || {
        let mut waits = Vec::new();
        while going_on.load(Ordering::Relaxed) {
            waits.push(one());
            thread::sleep(Duration::from_millis(2));
        }
        waits
    };
    let mut waits = thread::scope(|scope| {
        let served = scope.spawn(|| client.enter(all).unwrap());
        other();
        going_on.store(false, Ordering::Relaxed);
        served.join().unwrap()
    });
    waits.sort_unstable();
    waits
}

const STRANGERS: u16 = 20_000;

#[test]
fn floods_of_acks_and_of_handshakes_without_a_request_leave_nothing() {
    let admission = "connection_limit = 1000\nconnections_per_second = 50\nopen_connections = 50";
    let Some(mut stage) = stage::with_web(&Web { admission, ..Web::default() }) else { return };
    let (rig, peer) = stage.both();
    let insider = Insider::new(rig, peer);
    let urls = vec![curl::url(rig, Family::V4, "/pages/warm"); 20];
    curl::in_turn(rig, &urls);
    let watch = Watch::start(rig);
    let front = rig.process("front").unwrap().id();
    let before = resident_kib(front);
    let flooding = AtomicBool::new(true);
    let frames = |change: u32, payload: &'static [u8]| -> Vec<Vec<u8>> {
        let segment = |number: u16| {
            let source = SocketAddr::new(insider_address(number).into(), 1025 + number);
            let mut segment = insider.segment(source, 0, Flags::ACK, payload);
            segment.ack ^= change;
            insider.frame(&segment)
        };
        (0..STRANGERS).map(segment).collect()
    };
    // Handshakes that are good, guesses without data and with some.
    let floods = [frames(0, b""), frames(0x55, b""), frames(0x55, b"GET / HTTP/1.1\r\n\r\n")];
    let rig = &*rig;
    let served = thread::scope(|scope| {
        let client = scope.spawn(|| serve_while(rig, &flooding));
        floods.iter().for_each(|frames| insider.send(frames));
        flooding.store(false, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(served > 5, "only {served} requests were served during the floods");
    let least = u64::from(STRANGERS) * 9 / 10;
    watch.until(rig, FrontCounter::HandshakeCompleted, least);
    watch.until(rig, FrontCounter::UnknownReset, least);
    watch.until(rig, FrontCounter::CookieRefused, least);
    assert_eq!(watch.dispatched(rig), served);
    assert_eq!(crowd::filters(rig, "").keys().filter(|client| is_insider(client)).count(), 0);
    assert_eq!(crowd::tallies(rig, "limited"), [0; 8], "no handshake counts for its source");
    let grown = resident_kib(front).saturating_sub(before);
    assert!(grown < 4096, "the front-end has grown by {grown} KiB");
    watch.finish(rig);
}

fn is_insider(client: &SocketAddr) -> bool {
    matches!(client.ip(), IpAddr::V4(v4) if v4.octets()[..2] == [198, 18] && v4.octets()[2] >= 0x80)
}

const SLOW_CLIENTS: u16 = 3000;

#[test]
fn heads_that_dribble_in_byte_by_byte_fill_their_bounds_and_nothing_else() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let (rig, peer) = stage.both();
    // As a front-end of its own, for bounds that are not the service's.
    rig.stop("front").unwrap();
    let options = stage::front_options().alter(|text| {
        let bounds = "[slow_path]\nmax_collecting = 1000\ncollect_memory = \"2MiB\"\n";
        *text = text.replacen("[slow_path]\n", bounds, 1);
        *text = text.replacen(
            "classes = 20\n",
            "classes = 20\n[service.admission]\nconnection_limit = 1000\n",
            1,
        );
    });
    rig.start_front(&options).unwrap();
    rig.wait_until_servers_up(crowd::PATIENCE).unwrap();
    let sources = Sources::new(rig).unwrap();
    let insider = Insider::new(rig, peer);
    let urls = vec![curl::url(rig, Family::V4, "/pages/warm"); 20];
    curl::in_turn(rig, &urls);
    let watch = Watch::start(rig);
    let front = rig.process("front").unwrap().id();
    let before = resident_kib(front);
    let rig = &*rig;
    let waits = waits_while(rig, || {
        dribble(&insider);
        real_clients_byte_by_byte(&sources);
    });
    eprintln!("{} requests of a quick client, the slowest in {:?}", waits.len(), waits.last().unwrap());
    assert!(waits.len() > 10, "only {} requests were served", waits.len());
    watch.until(rig, ControlCounter::CollectFlowsFull, 1000);
    watch.until(rig, ControlCounter::HeadTimeout, 500);
    let grown = resident_kib(front).saturating_sub(before);
    assert!(grown < 16_384, "the front-end has grown by {grown} KiB");
    // None of them is left, whatever it was.
    let pending = || {
        let rows = rig.rows("front", &["show", "filters", "--limit", "50000"]).unwrap();
        rows.iter().filter(|row| row["state"] == "pending").count()
    };
    crowd::eventually("no pending filter is left", Duration::from_secs(12), || pending() == 0);
    watch.finish(rig);
}

/// Heads that go on for some seconds, a byte of each at a time.
fn dribble(insider: &Insider) {
    let source = |number: u16| SocketAddr::new(insider_address(number).into(), 1025 + number);
    let start: &[u8] = b"GET /slow HTTP/1.1\r\nX: ";
    let first = |number| insider.frame(&insider.segment(source(number), 0, Flags::ACK, start));
    insider.send(&(0..SLOW_CLIENTS).map(first).collect::<Vec<_>>());
    for round in 0..6 {
        let offset = start.len() as u32 + round;
        let next = |number| insider.frame(&insider.segment(source(number), offset, Flags::ACK, b"x"));
        insider.send(&(0..SLOW_CLIENTS).map(next).collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(200));
    }
}

/// They are slow, but come to an end. While others fill the table of heads they try again like every kernel does.
fn real_clients_byte_by_byte(sources: &Sources) {
    let mut clients: Vec<crowd::Visitor> = (1..=10)
        .map(|host| crowd::Visitor::new(sources, SocketAddr::new(source_ipv4(host).into(), 0)))
        .collect();
    for byte in b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n" {
        clients.iter_mut().for_each(|client| client.stream.write_all(&[*byte]).unwrap());
    }
    for client in &mut clients {
        assert_eq!(client.answer().unwrap_or_else(|error| panic!("{}: {error}", client.source)).status, 200);
    }
}

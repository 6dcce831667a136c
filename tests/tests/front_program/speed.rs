//! What a packet costs, net of an empty program. Printed as a table, not asserted: `cargo xtask bench` shows it on a machine that
//! does nothing else.

use std::net::IpAddr;

use dispatcher_common::{
    admission::way, class_cache::CachedClass, counter::FrontCounter, head_scan, service::flag,
};

use crate::{
    program::{CLASS_CACHE_KEY, GENERATION, HEAD_LIMIT, Program, flow_key},
    scene::{OWNER, Scene},
    segment::{ACK, Family, SYN, Segment},
    table::{ISN, established, good_ack},
};

/// Runs of a program on one packet by one system call, in which caches stay warm. The kernel does not restore the packet
/// between them, so only for packets that are the same afterwards.
const REPEATED: u32 = 100_000;

/// Rules of a large member-table.
const RULES: usize = 100_000;

/// Median over some such calls, in nanoseconds a run; each takes the next frame. One that repeats takes the kernel some 20 ms
/// to prepare.
fn median_ns(program: &mut Program, name: &str, frames: &[Vec<u8>], repeat: u32) -> u128 {
    let rounds = if repeat == 1 { 5_001 } else { 11 };
    let frames = frames.iter().cycle().take(rounds);
    let mut times: Vec<u128> = frames.map(|frame| program.time(name, frame, repeat).as_nanos()).collect();
    times.sort_unstable();
    times[rounds / 2]
}

/// Prints a line and gives the cost.
fn print_cost(program: &mut Program, case: &str, frames: &[Vec<u8>], repeat: u32) -> u128 {
    let floor = median_ns(program, "pass", frames, repeat);
    let cost = median_ns(program, "front", frames, repeat).saturating_sub(floor);
    let how = if repeat == 1 { "once" } else { "repeated" };
    println!("| {case} | {how} | {cost} | {floor} |");
    cost
}

fn print_head() {
    println!("\n| packet | run | ns, net | ns of an empty program |");
    println!("| --- | --- | --- | --- |");
}

fn syn(family: Family) -> Segment {
    Segment::of_client(family, SYN, ISN, 0)
        .with_options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9])
}

#[test]
fn cost_of_a_packet() {
    let Some(mut program) = Program::load() else { return };
    println!("\n{} instructions verified", program.verified_instructions());
    print_head();
    for family in Family::BOTH {
        program.filters().insert(flow_key(family), established(family), 0).unwrap();
        let ack = good_ack(family).wrapping_add(9);
        let known = Segment::of_client(family, ACK, ISN.wrapping_add(500), ack).with_timestamps();
        let mut other = known.clone();
        other.destination_port += 1;
        for (case, segment, repeat) in [
            ("a packet for nobody", &other, REPEATED),
            ("a known flow", &known, REPEATED),
            ("a known flow", &known, 1),
            ("data of a known flow", &known.clone().with_payload(b"data"), REPEATED),
            ("SYN to SYN-ACK", &syn(family), 1),
        ] {
            print_cost(&mut program, &format!("{case}, {family:?}"), &[segment.frame()], repeat);
        }
    }
    assert!(program.counters()[FrontCounter::Forwarded.index() as usize] >= u64::from(REPEATED));
}

/// Numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    /// Anywhere in the family's unicast space.
    fn address(&mut self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => IpAddr::from((0x0100_0000 + self.below(0xdf00_0000) as u32).to_be_bytes()),
            Family::Ipv6 => {
                let high = 0x2000_0000_0000_0000 | self.next() >> 3;
                IpAddr::from((u128::from(high) << 64 | u128::from(self.next())).to_be_bytes())
            }
        }
    }
}

/// Rules spread over both families, one in ten with a port; and clients that they are for, and for whom there are none.
fn many_rules() -> (Scene, [Vec<IpAddr>; 2]) {
    let mut numbers = Numbers(42);
    let mut scene = Scene::quiet();
    let mut clients = [Vec::new(), Vec::new()];
    for rule in 0..RULES {
        let family = if rule % 3 == 0 { Family::Ipv6 } else { Family::Ipv4 };
        let address = numbers.address(family);
        let (bits, of) = match family {
            Family::Ipv4 => (112 + numbers.below(17) as u8, 0),
            Family::Ipv6 => (48 + numbers.below(17) as u8, 1),
        };
        let port = if rule % 10 == 9 { 1024 + numbers.below(60_000) as u16 } else { 0 };
        scene = scene.with_rule(address, bits, port, 3);
        clients[of].push(address);
    }
    (scene, clients)
}

#[test]
fn cost_of_admission_at_a_syn() {
    let Some(mut program) = Program::load() else { return };
    let (rules, clients) = many_rules();
    print_head();
    for (family, clients) in Family::BOTH.into_iter().zip(clients) {
        let frames = |clients: &mut dyn Iterator<Item = IpAddr>| {
            clients.map(|source| Segment { source, ..syn(family) }.frame()).collect::<Vec<_>>()
        };
        let mut numbers = Numbers(7);
        let unruled = frames(&mut (0..5_001).map(|_| numbers.address(family)));
        // Its rule is one of any port.
        let hot = vec![frames(&mut clients.iter().copied().take(1)).remove(0)];
        let ruled = frames(&mut clients.iter().copied().step_by(7));
        let one = vec![syn(family).frame()];
        program.set_scene(family, &Scene::default());
        let none = print_cost(&mut program, &format!("SYN without admission, {family:?}"), &one, 1);
        print_cost(&mut program, &format!("SYN without admission, sources spread, {family:?}"), &unruled, 1);
        program.set_scene(family, &Scene::quiet());
        print_cost(&mut program, &format!("SYN with admission, no rules, {family:?}"), &one, 1);
        print_cost(
            &mut program,
            &format!("SYN with admission, no rules, sources spread, {family:?}"),
            &unruled,
            1,
        );
        // Rules give 3, other clients have the service's own priority: all of them get in.
        let overloaded = Scene { entry: Scene::overloaded(2, way::DROP).entry, ..rules.clone() };
        for (state, scene) in [("not overloaded", &rules), ("overloaded", &overloaded)] {
            program.set_scene(family, scene);
            for (case, frames) in
                [("one source", &hot), ("sources with rules", &ruled), ("sources without", &unruled)]
            {
                let case = format!("SYN with {RULES} rules, {state}, {case}, {family:?}");
                let cost = print_cost(&mut program, &case, frames, 1);
                println!("  {:.2} times one without admission", cost as f64 / none as f64);
            }
        }
    }
}

/// In one system call, so that caches are as warm as many sources leave them: a SYN that is dropped stays as it is. What it
/// costs more with rules is what a look-up costs.
#[test]
fn cost_of_a_look_up_for_many_sources() {
    let Some(mut program) = Program::load() else { return };
    let frame = syn(Family::Ipv4).frame();
    println!("\n| SYNs dropped, each of another source | ns, net |");
    println!("| --- | --- |");
    let (rules, _) = many_rules();
    let mut full = Scene::overloaded(7, way::DROP);
    full.entry.ways = [way::DROP; 8];
    let rules = Scene { entry: full.entry, ..rules };
    for (case, scene) in [("no rules", full), ("100 000 rules", rules)] {
        program.set_scene(Family::Ipv4, &scene);
        let mut median = |name| {
            let mut times: Vec<u32> =
                (0..11).map(|_| program.time_of_sources(name, &frame, 1_000_000)).collect();
            times.sort_unstable();
            times[5]
        };
        let (front, pass) = (median("front"), median("pass"));
        println!("| {case} | {} |", front - pass);
    }
}

/// A head of so many bytes or a few more: a browser's, with this target.
fn head(target_len: usize, browser: bool) -> Vec<u8> {
    let target = "a".repeat(target_len - 1);
    let fields = if browser { BROWSER } else { "User-Agent: curl/8.5\r\nAccept: */*\r\n" };
    format!("GET /{target} HTTP/1.1\r\nHost: example.org\r\n{fields}\r\n").into_bytes()
}

const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: http://example.org/a/page/before\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n";

/// Each run is of a flow without a filter, and leaves one behind.
#[test]
fn cost_of_a_first_request() {
    let Some(mut program) = Program::load() else { return };
    print_head();
    for family in Family::BOTH {
        program.set_scene(family, &Scene { flags: flag::QUICK, ..Scene::default() });
        for (case, head) in [
            ("target of 60 bytes", head(60, false)),
            ("target of 200 bytes", head(200, false)),
            ("a browser's head", head(60, true)),
        ] {
            let key = head_scan::key_of(&CLASS_CACHE_KEY, OWNER, &head, HEAD_LIMIT).unwrap();
            let cached = CachedClass { generation: GENERATION, ..CachedClass::default() };
            let segment = Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family))
                .with_timestamps()
                .with_payload(&head);
            let case = format!("{case}, {} bytes in all, {family:?}", head.len());
            for (way, entry) in
                [("by the class cache", Some((key, cached))), ("not in the class cache", None)]
            {
                program.set_class_cache(entry);
                print_first(&mut program, family, &format!("first request {way}, {case}"), &segment.frame());
            }
        }
    }
}

fn print_first(program: &mut Program, family: Family, case: &str, frame: &[u8]) {
    let mut median = |name| {
        let mut times: Vec<u128> = (0..5_001)
            .map(|_| {
                let time = program.time(name, frame, 1).as_nanos();
                let _ = program.filters().remove(&flow_key(family));
                time
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let floor = median("pass");
    println!("| {case} | once | {} | {floor} |", median("front").saturating_sub(floor));
}

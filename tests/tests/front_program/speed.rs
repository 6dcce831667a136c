//! What admission adds to the cost of a packet, net of an empty program. Printed as tables, not asserted.

use std::net::IpAddr;

use dispatcher_common::admission::way;

use crate::{
    program::Program,
    scene::Scene,
    segment::{Family, SYN, Segment},
    table::ISN,
};

/// Rules of a large member-table.
const RULES: usize = 100_000;

/// Median over runs by a system call each, in nanoseconds; each takes the next frame.
fn median_ns(program: &mut Program, name: &str, frames: &[Vec<u8>]) -> u128 {
    const ROUNDS: usize = 5_001;
    let frames = frames.iter().cycle().take(ROUNDS);
    let mut times: Vec<u128> = frames.map(|frame| program.time(name, frame).as_nanos()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Prints a line and gives the cost.
fn print_cost(program: &mut Program, case: &str, frames: &[Vec<u8>]) -> u128 {
    let floor = median_ns(program, "pass", frames);
    let cost = median_ns(program, "front", frames).saturating_sub(floor);
    println!("| {case} | {cost} | {floor} |");
    cost
}

fn print_head() {
    println!("\n| packet | ns, net | ns of an empty program |");
    println!("| --- | --- | --- |");
}

fn syn(family: Family) -> Segment {
    Segment::of_client(family, SYN, ISN, 0)
        .with_options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9])
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
        let none = print_cost(&mut program, &format!("SYN without admission, {family:?}"), &one);
        print_cost(&mut program, &format!("SYN without admission, sources spread, {family:?}"), &unruled);
        program.set_scene(family, &Scene::quiet());
        print_cost(&mut program, &format!("SYN with admission, no rules, {family:?}"), &one);
        print_cost(
            &mut program,
            &format!("SYN with admission, no rules, sources spread, {family:?}"),
            &unruled,
        );
        // Rules give 3, other clients have the service's own priority: all of them get in.
        let overloaded = Scene { entry: Scene::overloaded(2, way::DROP).entry, ..rules.clone() };
        for (state, scene) in [("not overloaded", &rules), ("overloaded", &overloaded)] {
            program.set_scene(family, scene);
            for (case, frames) in
                [("one source", &hot), ("sources with rules", &ruled), ("sources without", &unruled)]
            {
                let case = format!("SYN with {RULES} rules, {state}, {case}, {family:?}");
                let cost = print_cost(&mut program, &case, frames);
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

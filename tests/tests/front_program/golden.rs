//! Tables 1 to 4 of the paper: its rules, its filters, and its request from 140.117.164.90:4147. What is here is the kernel's part;
//! whom an admitted request evicts is the control plane's.

use std::net::{IpAddr, Ipv4Addr};

use dispatcher_common::{
    address::Address,
    admission::{Ruling, way},
    cookie,
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    tuple::Tuple,
};

use crate::{
    program::{COOKIE_KEY, EPOCH, Program, service_id},
    scene::Scene,
    segment::{ACK, Family, PORT, SYN, Segment},
    table::{DROP, ISN, REDIRECT, TX, options},
};

const REQUEST: (Ipv4Addr, u16) = (Ipv4Addr::new(140, 117, 164, 90), 4147);

/// Table 2: address, port and priority of the filters.
const FILTERS: [(Ipv4Addr, u16, u8); 4] = [
    (Ipv4Addr::new(140, 117, 164, 108), 4557, 0),
    (Ipv4Addr::new(140, 122, 65, 25), 3987, 5),
    (Ipv4Addr::new(210, 149, 106, 141), 1821, 7),
    (Ipv4Addr::new(210, 135, 11, 1), 6521, 7),
];

/// Table 1. The cookie of each rule may be there, for all that a SYN shows.
fn rules() -> Scene {
    let rule = |scene: Scene, prefix: [u8; 4], bits: u8, port, priority| {
        scene.with_rule(IpAddr::from(prefix), 96 + bits, port, priority)
    };
    let scene = Scene { priority: 0, ..Scene::quiet() };
    let scene = rule(scene, [140, 117, 0, 0], 16, 4147, 2);
    let scene = rule(scene, [140, 122, 65, 0], 24, 0, 7);
    let scene = rule(scene, [163, 124, 10, 103], 32, 0, 3);
    rule(scene, [210, 0, 0, 0], 8, 6521, 0)
}

/// Table 2, and the counts that the daemon keeps of it.
fn load(program: &mut Program, mut scene: Scene, limit: u64) -> Scene {
    program.clear_filters();
    scene.entry.open = [0; 8];
    scene.entry.limit = limit;
    scene.entry.ways = [way::DROP; 8];
    for (address, port, priority) in FILTERS {
        let filter = Filter { state: state::ESTABLISHED, priority, ..Filter::default() };
        program.filters().insert(key((address, port)), filter, 0).unwrap();
        scene.entry.open[priority as usize] += 1;
    }
    program.set_scene(Family::Ipv4, &scene);
    scene
}

fn key((address, port): (Ipv4Addr, u16)) -> FlowKey {
    FlowKey::new(Address::from(IpAddr::from(address)), port.to_be(), service_id(Family::Ipv4))
}

fn segment((address, port): (Ipv4Addr, u16), flags: u8) -> Segment {
    Segment { source: address.into(), source_port: port, ..Segment::of_client(Family::Ipv4, flags, ISN, 0) }
}

fn syn(program: &mut Program, client: (Ipv4Addr, u16)) -> u32 {
    program.run("front", &segment(client, SYN).frame()).action
}

fn first_request(program: &mut Program, client: (Ipv4Addr, u16)) -> u32 {
    let tuple = Tuple {
        client: Address::from(IpAddr::from(client.0)),
        client_port_be: client.1.to_be(),
        port_be: PORT.to_be(),
        ..Family::Ipv4.tuple()
    };
    let cookie = cookie::make(&COOKIE_KEY, &tuple, options(), ISN, EPOCH);
    let (seq, ack) = (ISN.wrapping_add(1), cookie.wrapping_add(1));
    let request = Segment { seq, ack, ..segment(client, ACK) }.with_payload(b"GET / HTTP/1.1\r\n\r\n");
    program.run("front", &request.frame()).action
}

/// Ports that Table 1 names no rule for.
fn stranger() -> (Ipv4Addr, u16) {
    (REQUEST.0, 4148)
}

#[test]
fn table_3_a_service_that_is_not_overloaded_admits_the_request_beside_the_others() {
    let Some(mut program) = Program::load() else { return };
    load(&mut program, rules(), 5);
    assert_eq!(syn(&mut program, REQUEST), TX);
    assert_eq!(first_request(&mut program, REQUEST), REDIRECT);
    let filter = program.filters().get(&key(REQUEST), 0).unwrap();
    assert_eq!((filter.priority, filter.state), (0, state::PENDING), "nobody has asked for its priority yet");
    assert_eq!(program.filters().keys().count(), 5);
    assert_eq!(syn(&mut program, stranger()), TX, "there is room for anybody");
}

#[test]
fn table_4_an_overloaded_one_admits_it_for_the_filter_with_priority_0() {
    let Some(mut program) = Program::load() else { return };
    let scene = load(&mut program, rules(), 4);
    assert_eq!(syn(&mut program, REQUEST), TX);
    assert_eq!(first_request(&mut program, REQUEST), REDIRECT);
    assert_eq!(program.filters().get(&key(REQUEST), 0).unwrap().priority, 2);
    assert_eq!(scene.entry.judge(2), Ruling::Evict(0), "what is left to the control plane");
    assert_eq!(syn(&mut program, stranger()), DROP, "an equal of the lowest");
    assert_eq!(first_request(&mut program, stranger()), DROP);
    assert!(program.filters().get(&key(stranger()), 0).is_err());
    let counted = |counter: FrontCounter| program.counters()[counter.index() as usize];
    assert_eq!(counted(FrontCounter::SynRefusedDropped), 1);
    assert_eq!(counted(FrontCounter::RequestRefusedDropped), 1);
}

#[test]
fn table_1_gives_every_source_its_ceiling_at_the_syn() {
    let Some(mut program) = Program::load() else { return };
    // Lowest is 2: whoever has more comes in.
    for (client, port, admitted) in [
        ([140, 117, 3, 4], 4147, false),
        ([140, 117, 3, 4], 1, false),
        ([140, 122, 65, 200], 9, true),
        ([140, 122, 66, 200], 9, false),
        ([163, 124, 10, 103], 77, true),
        ([163, 124, 10, 104], 77, false),
        ([210, 1, 2, 3], 6521, false),
    ] {
        let mut scene = rules();
        scene.entry.open = [0, 0, 1, 0, 0, 0, 0, 0];
        scene.entry.limit = 1;
        scene.entry.ways = [way::DROP; 8];
        program.set_scene(Family::Ipv4, &scene);
        let expected = if admitted { TX } else { DROP };
        assert_eq!(syn(&mut program, (client.into(), port)), expected, "{client:?}:{port}");
    }
}

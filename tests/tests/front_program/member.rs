//! The member-table's first stage: which of several rules decides, for both families.

use std::net::IpAddr;

use dispatcher_common::{admission::way, filter::Filter, service::flag};

use crate::{
    program::{PRIORITY, Program, flow_key},
    request::request,
    scene::{GENERATION, Scene},
    segment::{CLIENT_PORT, Family},
    table::REDIRECT,
};

/// Prefixes around our client, from short to long, as bits of the 128.
fn prefixes(family: Family) -> [(IpAddr, u8); 4] {
    let (texts, bits) = match family {
        Family::Ipv4 => (["198.0.0.0", "198.18.0.0", "198.18.0.0", "198.18.0.1"], [104, 112, 120, 128]),
        Family::Ipv6 => (["2001::", "2001:db8::", "2001:db8::", "2001:db8::1"], [16, 32, 64, 128]),
    };
    std::array::from_fn(|place| (texts[place].parse().unwrap(), bits[place]))
}

fn elsewhere(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => "198.18.0.2",
        Family::Ipv6 => "2001:db8::2",
    }
    .parse()
    .unwrap()
}

/// A service with room for nobody of priority 0: only then does anybody's priority matter.
fn crowded() -> Scene {
    Scene::overloaded(0, way::DROP)
}

/// The priority of the pending filter that our client's request gets.
fn ceiling(program: &mut Program, family: Family, scene: &Scene) -> u8 {
    program.set_scene(family, scene);
    program.clear_filters();
    assert_eq!(program.run("front", &request(family).frame()).action, REDIRECT);
    let Filter { priority, .. } = program.filters().get(&flow_key(family), 0).unwrap();
    priority
}

#[test]
fn the_longest_prefix_decides() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        let mut scene = crowded().with_rule(elsewhere(family), 128, 0, 7);
        assert_eq!(ceiling(&mut program, family, &scene), PRIORITY, "no rule");
        for (ceiling_of, (prefix, bits)) in [1, 7, 2, 6].into_iter().zip(prefixes(family)) {
            scene = scene.with_rule(prefix, bits, 0, ceiling_of);
            assert_eq!(ceiling(&mut program, family, &scene), ceiling_of, "{prefix}/{bits}");
        }
    }
}

#[test]
fn rules_of_the_client_s_port_come_first() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        let [(short, short_bits), .., (long, long_bits)] = prefixes(family);
        let scene = crowded()
            .with_rule(long, long_bits, 0, 6)
            .with_rule(short, short_bits, CLIENT_PORT, 3)
            .with_rule(long, long_bits, CLIENT_PORT + 1, 7);
        assert_eq!(ceiling(&mut program, family, &scene), 3);
        let blind = Scene { flags: scene.flags & !flag::MEMBER_PORTS, ..scene.clone() };
        assert_eq!(ceiling(&mut program, family, &blind), 6, "ports are looked at only when a rule has one");
        let unruled = Scene { flags: scene.flags & !flag::MEMBERS, ..scene };
        assert_eq!(ceiling(&mut program, family, &unruled), PRIORITY, "rules, only when there are some");
    }
}

#[test]
fn a_port_without_a_rule_for_the_client_falls_back_to_any() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        let [(short, short_bits), ..] = prefixes(family);
        let scene =
            crowded().with_rule(short, short_bits, 0, 2).with_rule(elsewhere(family), 128, CLIENT_PORT, 7);
        assert_eq!(ceiling(&mut program, family, &scene), 2);
    }
}

#[test]
fn a_new_generation_takes_the_place_of_the_old_at_once() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        let [(short, short_bits), .., (long, long_bits)] = prefixes(family);
        let scene = crowded()
            .with_rule_of(GENERATION, long, long_bits, 0, 7)
            .with_rule_of(GENERATION, long, long_bits, CLIENT_PORT, 7)
            .with_rule_of(GENERATION + 1, short, short_bits, 0, 1);
        assert_eq!(ceiling(&mut program, family, &scene), 7);
        let mut service = scene.service(family);
        service.generation += 1;
        program.set_service(family, service);
        program.clear_filters();
        program.run("front", &request(family).frame());
        assert_eq!(program.filters().get(&flow_key(family), 0).unwrap().priority, 1, "nothing of the old");
    }
}

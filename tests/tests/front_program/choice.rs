//! The choice of a server in the program, case by case over random states: it is the policy's, and told in a record. Loads are
//! far above what a test lasts, so that time makes no difference between servers.

use std::time::Duration;

use dispatcher_common::{
    choice::spread, class_cache::CachedClass, counter::FrontCounter, head_scan, service::flag,
};
use dispatcher_core::{
    ids::{ClassId, Priority, ServerId},
    policy::{Choice, Classified, LoadThreshold, Outcome, PolicySettings, TableKind},
};
use dispatcher_user::front::choice::Choices;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::{
    program::{CLASS_CACHE_KEY, GENERATION, HEAD_LIMIT, Program, flow_key},
    published::Published,
    scene::{OWNER, Scene},
    segment::{ACK, Family, Segment},
    table::{ISN, good_ack},
};

const SERVERS: u16 = 5;
const CLASSES: u16 = 4;
const STATES: u32 = 60;
const REQUESTS: u32 = 60;
const LONG: Duration = Duration::from_secs(3600);
const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n";

fn settings(name: &str, table: TableKind, threshold: LoadThreshold) -> PolicySettings {
    PolicySettings { name: name.into(), table, load_threshold: Some(threshold), ..PolicySettings::default() }
}

/// Sends a request of a class and target; gives the server that it went to, if the program chose one.
fn send(program: &mut Program, request: &Classified) -> Option<u16> {
    let family = Family::Ipv4;
    let segment = Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family)).with_payload(HEAD);
    let cached = CachedClass {
        target: request.target.unwrap(),
        generation: GENERATION,
        class: request.class.0,
        reserved: 0,
    };
    let key = head_scan::key_of(&CLASS_CACHE_KEY, OWNER, HEAD, HEAD_LIMIT).unwrap();
    program.set_class_cache(Some((key, cached)));
    program.clear_filters();
    let before = program.counters()[FrontCounter::RequestQuick.index() as usize];
    program.run("front", &segment.frame());
    let quick = program.counters()[FrontCounter::RequestQuick.index() as usize] - before;
    let filter = program.filters().get(&flow_key(family), 0).unwrap();
    (quick > 0).then_some(filter.server)
}

fn prepared() -> Option<(Program, Choices)> {
    let mut program = Program::load()?;
    (0..SERVERS).for_each(|server| program.set_usable(server));
    program.set_scene(Family::Ipv4, &Scene { flags: flag::QUICK, ..Scene::default() });
    let choices = program.choices();
    Some((program, choices))
}

fn a_request(rng: &mut Pcg32) -> Classified {
    let target = if rng.random_bool(0.5) { rng.random_range(0..3) } else { rng.random_range(0..50) };
    Classified {
        class: ClassId(rng.random_range(0..CLASSES)),
        priority: Priority::HIGHEST,
        target: Some(spread(target, 5)),
    }
}

/// What a record says.
fn told(choices: &mut Choices) -> Vec<(u16, Outcome, u16, u64)> {
    let (records, lost) = choices.drain();
    assert_eq!(lost, 0);
    let told = records.iter().map(|record| {
        assert_eq!(record.owner, OWNER);
        (record.server, Outcome::from_code(record.outcome), record.class, record.target)
    });
    let told = told.collect();
    choices.recycle(records);
    told
}

/// One state: random loads, some servers out, then requests of which every other is learnt from its record.
fn agrees(program: &mut Program, choices: &mut Choices, settings: &PolicySettings, rng: &mut Pcg32) -> u32 {
    let mut published = Published::new(settings, SERVERS, CLASSES);
    for server in 0..SERVERS {
        let held = [rng.random_range(30..60), rng.random_range(0..9), 0, 0].map(|held| (held, 20_000));
        published.report(choices, server, &held);
    }
    let out = rng.random_range(0..32_u32) & rng.random_range(0..32_u32);
    (0..SERVERS).for_each(|id| published.cluster.set_draining(ServerId(id), out >> id & 1 != 0));
    let mut decided = 0;
    for _ in 0..REQUESTS {
        published.publish(choices, LONG, None);
        let request = a_request(rng);
        let sent = send(program, &request);
        let view = published.cluster.view(&published.ids);
        let chosen = match sent {
            Some(server) => {
                decided += 1;
                let [(recorded, outcome, class, target)] = told(choices)[..] else { panic!("one record") };
                assert_eq!((recorded, class, Some(target)), (server, request.class.0, request.target));
                assert!(view.get(ServerId(server)).is_some(), "server {server} of {out:b}");
                let by_chance = ["random", "two-choices"].contains(&settings.name.as_str());
                let choice = Choice { server: ServerId(server), outcome };
                if by_chance || rng.random_bool(0.3) {
                    published.policy.observed(request, choice, &view, rng);
                } else {
                    let own = published.policy.choose(request, &view, published.now, rng);
                    assert_eq!(Some(choice), own, "{settings:?}");
                }
                choice
            }
            None => match published.policy.choose(request, &view, published.now, rng) {
                Some(choice) => choice,
                None => continue,
            },
        };
        published.cluster.dispatched(chosen.server, request.class, published.now);
    }
    decided
}

#[test]
fn the_program_chooses_as_the_policy() {
    let Some((mut program, mut choices)) = prepared() else { return };
    let mut rng = Pcg32::seed_from_u64(20);
    for (name, table) in [
        ("context", TableKind::Sticky),
        ("context", TableKind::Faithful),
        ("context", TableKind::Replicated),
        ("context", TableKind::Weighted),
        ("hash", TableKind::Weighted),
        ("round-robin", TableKind::Weighted),
        ("random", TableKind::Weighted),
        ("two-choices", TableKind::Weighted),
    ] {
        let mut decided = 0;
        for _ in 0..STATES {
            let threshold = LoadThreshold::Work(Duration::from_millis(rng.random_range(0..400)));
            decided += agrees(&mut program, &mut choices, &settings(name, table, threshold), &mut rng);
        }
        println!("{name} {table:?}: {decided} of {} requests by the program", STATES * REQUESTS);
        // A faithful table binds only classes that are held.
        assert!(decided * 3 > STATES * REQUESTS, "{name} {table:?}: {decided}");
    }
}

#[test]
fn nothing_is_chosen_that_the_control_plane_would_not() {
    let Some((mut program, mut choices)) = prepared() else { return };
    let mut rng = Pcg32::seed_from_u64(3);
    let weighted = settings("context", TableKind::Weighted, LoadThreshold::Requests(72));
    let mut published = Published::new(&weighted, SERVERS, CLASSES);
    let request = a_request(&mut rng);
    published.publish(&mut choices, LONG, None);
    assert_eq!(send(&mut program, &request), None, "no server is up");
    for server in 0..SERVERS {
        published.report(&mut choices, server, &[(50, 20_000)]);
    }
    published.publish(&mut choices, LONG, None);
    assert!(send(&mut program, &request).is_some());
    published.publish(&mut choices, Duration::ZERO, None);
    assert_eq!(send(&mut program, &request), None, "nobody has been heard of");
    published.publish(&mut choices, LONG, Some(Duration::from_millis(1500)));
    assert_eq!(send(&mut program, &request), None, "1 s each is more than half of the bound");
    published.publish(&mut choices, LONG, Some(Duration::from_millis(2500)));
    assert!(send(&mut program, &request).is_some());
    for id in 0..SERVERS {
        published.cluster.set_draining(ServerId(id), true);
        published.publish(&mut choices, LONG, None);
        assert_ne!(send(&mut program, &request), Some(id));
    }
    let lard = settings("lard", TableKind::Weighted, LoadThreshold::Requests(72));
    let mut published = Published::new(&lard, SERVERS, CLASSES);
    published.report(&mut choices, 0, &[(1, 10)]);
    published.publish(&mut choices, LONG, None);
    assert_eq!(send(&mut program, &request), None, "the slow path's policy");
}

/// Between two publications a server's own dispatches make the next request go elsewhere.
#[test]
fn dispatches_count_before_the_control_plane_knows() {
    let Some((mut program, mut choices)) = prepared() else { return };
    let hundred_ms = LoadThreshold::Work(Duration::from_millis(100));
    let sticky = settings("context", TableKind::Sticky, hundred_ms);
    let mut published = Published::new(&sticky, 2, CLASSES);
    for server in 0..2 {
        published.report(&mut choices, server, &[(40, 20_000)]);
    }
    let request = Classified { class: ClassId(0), priority: Priority::HIGHEST, target: Some(1) };
    let view = published.cluster.view(&published.ids);
    let own = published.policy.bound_server(ClassId(0)).or_else(|| {
        published.policy.choose(request, &view, published.now, &mut Pcg32::seed_from_u64(1)).map(|c| c.server)
    });
    let own = own.unwrap().0;
    published.publish(&mut choices, LONG, None);
    let servers: Vec<_> = (0..12).map(|_| send(&mut program, &request).unwrap()).collect();
    // Five requests of 20 ms are what it may hold more; the sixth is above it.
    let expected = [own, own, own, own, own, own, 1 - own, own, 1 - own, own, 1 - own, own];
    assert_eq!(servers, expected);
    assert_eq!(told(&mut choices).len(), 12);
}

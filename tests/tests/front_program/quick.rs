//! First requests by the class cache: what goes to a server at once, what is left to the slow path.

use dispatcher_common::{
    choice::{self, DispatchRecord},
    class_cache::CachedClass,
    counter::FrontCounter,
    filter::{self, Filter, state},
    head_scan,
    limits::PRIORITIES,
    path_state::{PathState, TICK_SHIFT},
    service::flag,
    syn_options::SynOptions,
    ticket::{self, KIND_HAND_OFF, Ticket},
};
use dispatcher_core::{
    class::{ClassKey, ClassMap},
    http::{Head, parse_head},
    ids::ClassId,
};
use tests::heads::Heads;

use crate::{
    program::{
        CLASS_CACHE_KEY, EPOCH, GENERATION, HEAD_LIMIT, MTU, PRIORITY, Program, Run, SERVER, SERVER_MAC,
        TICKET_KEY, WORK_US, coarse_clock_ns, cookie_of, flow_key,
    },
    scene::{OWNER, Scene},
    segment::{ACK, CLIENT_MAC, FIN, Family, Segment},
    table::{self, CLASS, Case, DROP, ISN, REDIRECT, TX, World, good_ack, options},
};

pub(crate) const HEAD: &[u8] =
    b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\n\r\n";

fn request(family: Family) -> Segment {
    Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family))
        .with_timestamps()
        .with_payload(HEAD)
}

pub(crate) fn key_of(head: &[u8]) -> Option<u64> {
    head_scan::key_of(&CLASS_CACHE_KEY, OWNER, head, HEAD_LIMIT)
}

pub(crate) const CACHED: CachedClass =
    CachedClass { target: 4711, generation: GENERATION, class: CLASS, reserved: 0 };

fn quick() -> Scene {
    Scene { flags: flag::QUICK, ..Scene::default() }
}

/// Takes the ticket off a frame that went to a server; gives both.
pub(crate) fn opened(family: Family, frame: &[u8]) -> (Segment, Ticket) {
    let mut segment = Segment::read(frame);
    let rest = segment.options.split_off(16);
    let (words, _) = segment.options.as_chunks::<4>();
    let words: [u32; 4] = std::array::from_fn(|at| u32::from_ne_bytes(words[at]));
    let tuple = family.tuple();
    let place = ticket::Segment { tuple: &tuple, seq: segment.seq, ack: segment.ack };
    let ticket = Ticket::open(&words, &TICKET_KEY, &place, EPOCH).unwrap();
    segment.options = rest;
    (segment, ticket)
}

/// Goes to the server with a ticket, and counts as an open flow. The echo in its timestamps is of no handshake that is not long
/// over.
fn dispatched(family: Family, name: &'static str, segment: Segment) -> Case {
    let (frame, key) = (segment.frame(), key_of(&segment.payload).unwrap());
    let path = if segment.options.is_empty() { PathState::UNKNOWN } else { PathState::new(0, 256_000) };
    let bytes = frame.len() as u64;
    Case::new(name, frame, TX, [FrontCounter::RequestQuick]).in_scene(quick()).with_cached(key, CACHED).check(
        move |outcome| {
            let (after, ticket) = opened(family, &outcome.after);
            let expected =
                Segment { destination_mac: SERVER_MAC, source_mac: after.source_mac, ..segment.clone() };
            assert_eq!(after, expected);
            assert_eq!(
                ticket,
                Ticket {
                    kind: KIND_HAND_OFF,
                    options: options(),
                    priority: PRIORITY,
                    timestamps: !segment.options.is_empty(),
                    followed: false,
                    number: 0,
                    class: CLASS,
                    server: 0,
                    path,
                }
            );
            let mut opened = [0; PRIORITIES];
            opened[PRIORITY as usize] = 1;
            assert_eq!(outcome.opened, opened);
            assert_eq!((outcome.traffic.packets, outcome.traffic.bytes), (1, bytes.max(60) + 16));
            assert_filter(&outcome.filter.unwrap(), &segment, bytes);
        },
    )
}

fn assert_filter(filter: &Filter, segment: &Segment, bytes: u64) {
    assert!(filter.created_ns > 0);
    let expected = Filter {
        created_ns: filter.created_ns,
        last_seen_ns: filter.created_ns,
        request_ns: filter.created_ns,
        packets: 1,
        bytes,
        handoff_seq: segment.seq,
        handoff_ack: segment.ack,
        request_ack: segment.ack,
        last_ack: segment.ack,
        first_seq: segment.seq,
        next_seq: segment.seq.wrapping_add(segment.payload.len() as u32),
        requests: 1,
        class: CLASS,
        server: SERVER,
        state: state::ESTABLISHED,
        options: options().0,
        priority: PRIORITY,
        client_mac: CLIENT_MAC,
        ..Filter::default()
    };
    assert_eq!(*filter, expected);
}

/// Is left to the slow path, as if there were no class cache.
fn left(name: &'static str, segment: &Segment, reason: impl IntoIterator<Item = FrontCounter>) -> Case {
    let counters: Vec<_> = [FrontCounter::RequestFirst].into_iter().chain(reason).collect();
    Case::new(name, segment.frame(), REDIRECT, counters)
        .in_scene(quick())
        .with_cached(key_of(HEAD).unwrap(), CACHED)
        .check(|outcome| {
            outcome.assert_untouched();
            outcome.assert_uncounted();
            assert_eq!(outcome.filter.unwrap().state, state::PENDING);
        })
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let request = request(family);
    let mut previous = request.clone();
    previous.ack = cookie_of(family, options(), ISN, EPOCH.previous()).wrapping_add(1);
    let mut cases = vec![
        dispatched(family, "a known request goes to its server", request.clone()),
        dispatched(family, "so with a cookie of the last epoch", previous),
        dispatched(family, "so without timestamps", request.clone().with_options(&[])),
        dispatched(family, "so with more behind it", request.clone().with_payload(&[HEAD, b"more"].concat())),
    ];
    cases.extend(followed(family, &request));
    cases.extend(guarded(family, &request));
    cases.extend(others(&request));
    cases.extend(full_size(family, &request));
    cases
}

/// A service that dispatches every request: it is known where the next one starts.
fn followed(family: Family, request: &Segment) -> [Case; 3] {
    let scene = || Scene { flags: flag::QUICK | flag::PER_REQUEST, ..Scene::default() };
    let longer = request.clone().with_payload(&[HEAD, b"more"].concat());
    let longest = request.clone().with_payload(&[&long_head(head_scan::MAX_HEAD)[..], b"more"].concat());
    let boundary = request.seq.wrapping_add(HEAD.len() as u32);
    let goes = Case::new("the first of many requests", request.frame(), TX, [FrontCounter::RequestQuick])
        .in_scene(scene())
        .with_cached(key_of(HEAD).unwrap(), CACHED)
        .check(move |outcome| {
            let (ticket, after) = (opened(family, &outcome.after).1, outcome.filter.unwrap());
            assert_eq!((ticket.kind, ticket.followed, ticket.number), (KIND_HAND_OFF, true, 0));
            assert_eq!((after.flags, after.boundary), (filter::flag::FOLLOWED, boundary));
            assert_eq!((after.number, after.requests), (0, 1));
        });
    let unusual =
        |name, segment: &Segment| left(name, segment, [FrontCounter::ClassCacheUnusual]).in_scene(scene());
    [goes, unusual("more behind the first", &longer), unusual("more behind the longest", &longest)]
}

/// What is known, but must not go by this way, or cannot.
fn guarded(family: Family, request: &Segment) -> Vec<Case> {
    let mut with_fin = request.clone();
    with_fin.flags |= FIN;
    let crowded = request.clone().with_options(&[1; 28]);
    let known = key_of(HEAD).unwrap();
    let dropped = |name, world, counter| {
        Case::new(name, request.frame(), DROP, [counter])
            .in_scene(quick())
            .with_cached(known, CACHED)
            .in_world(world)
    };
    let old = CachedClass { generation: GENERATION - 1, ..CACHED };
    let mut overloaded = Scene::overloaded(PRIORITY - 1, dispatcher_common::admission::way::RESPOND);
    overloaded.flags |= flag::QUICK;
    vec![
        left("a client that closes at once", &with_fin, []),
        left("options that leave no room for a ticket", &crowded, []),
        left("a service with cookie rules", request, []).in_scene(Scene::default()),
        left("a service in which someone has to give way", request, []).in_scene(overloaded),
        left("an entry of another generation", request, [FrontCounter::ClassCacheMiss])
            .with_cached(known, old),
        left("no server to go to", request, [FrontCounter::ClassCacheUndecided])
            .in_world(World::ServerWithoutMac),
        dropped("a full table admits nobody", World::FullTable, FrontCounter::FilterTableFull)
            .check(|outcome| assert_eq!((outcome.filter, outcome.opened), (None, [0; PRIORITIES]))),
        dropped("there is no room before the frame", World::NoHeadroom, FrontCounter::NoHeadroomDropped)
            .check(|outcome| assert_eq!((outcome.filter, outcome.opened), (None, [0; PRIORITIES]))),
        Case::new(
            "servers behind another interface",
            request.frame(),
            REDIRECT,
            [FrontCounter::RequestQuick],
        )
        .in_scene(quick())
        .with_cached(known, CACHED)
        .in_world(World::TwoArm)
        .check(move |outcome| assert_eq!(opened(family, &outcome.after).1.class, CLASS)),
        members(family, request),
        sources(request),
    ]
}

/// Rules decide the priority.
fn members(family: Family, request: &Segment) -> Case {
    let mut scene = Scene::quiet().with_rule(family.client(), 128, 0, 2);
    scene.flags |= flag::QUICK;
    Case::new("the member-table gives the priority", request.frame(), TX, [FrontCounter::RequestQuick])
        .in_scene(scene)
        .with_cached(key_of(HEAD).unwrap(), CACHED)
        .check(move |outcome| {
            assert_eq!((opened(family, &outcome.after).1.priority, outcome.filter.unwrap().priority), (2, 2));
            assert_eq!(outcome.opened[2], 1);
        })
}

fn sources(request: &Segment) -> Case {
    let mut scene = Scene::limited(0);
    scene.flags |= flag::QUICK;
    Case::new("a source's flow is counted", request.frame(), TX, [FrontCounter::RequestQuick])
        .in_scene(scene)
        .with_cached(key_of(HEAD).unwrap(), CACHED)
        .check(|outcome| assert!(outcome.source.0.is_some() && outcome.source.1 == Some(1)))
}

/// What is not known.
fn others(request: &Segment) -> Vec<Case> {
    let with = |head: &[u8]| request.clone().with_payload(head);
    let miss = |name, head: &[u8]| left(name, &with(head), [FrontCounter::ClassCacheMiss]);
    let unusual = |name, head: &[u8]| left(name, &with(head), [FrontCounter::ClassCacheUnusual]);
    vec![
        miss("another target", b"GET /images/b.png HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        miss("another host", b"GET /images/a.png HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        miss("another method", b"HEAD /images/a.png HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        unusual("a head that goes on", &HEAD[..HEAD.len() - 1]),
        unusual("two hosts", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nHost: a\r\n\r\n"),
        unusual("no host", b"GET /images/a.png HTTP/1.1\r\n\r\n"),
        unusual("a body", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nContent-Length: 1\r\n\r\na"),
        unusual("another protocol", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nUpgrade: a\r\n\r\n"),
        unusual("an expectation", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nExpect: a\r\n\r\n"),
        unusual("a control character", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nA: \x01\r\n\r\n"),
        unusual("a head that is too long", &long_head(head_scan::MAX_HEAD + 1)),
        unusual("a line that ends in LF", b"GET /images/a.png HTTP/1.1\r\nHost: example.org\nA: b\r\n\r\n"),
    ]
}

fn long_head(len: usize) -> Vec<u8> {
    let start = "GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nA: ";
    format!("{start}{}\r\n\r\n", "b".repeat(len - start.len() - 4)).into_bytes()
}

/// Up to the MTU, ticket included, and not beyond.
fn full_size(family: Family, request: &Segment) -> Vec<Case> {
    let room = MTU as usize + 14 - family.payload_offset() - 20 - 12 - 16;
    let of_len = |len: usize| request.clone().with_payload(&[HEAD, &vec![b'x'; len - HEAD.len()]].concat());
    let longest = request.clone().with_payload(&long_head(head_scan::MAX_HEAD));
    vec![
        dispatched(family, "a segment that fits with its ticket", of_len(room)),
        left("a segment that does not fit with a ticket", &of_len(room + 1), []),
        dispatched(family, "the longest head", longest),
    ]
}

#[test]
fn known_requests_go_to_a_server_and_others_to_the_slow_path() {
    table::run(cases);
}

#[test]
fn a_dispatch_is_told_to_the_control_plane() {
    let Some(mut program) = Program::load() else { return };
    let family = Family::Ipv6;
    program.set_scene(family, &quick());
    program.set_class_cache(Some((key_of(HEAD).unwrap(), CACHED)));
    let (before, account) = (program.dispatches().0, program.account());
    program.run("front", &request(family).frame());
    let record = DispatchRecord {
        target: CACHED.target,
        work_us: WORK_US,
        class: CLASS,
        server: SERVER,
        owner: OWNER,
        priority: PRIORITY,
        outcome: choice::outcome::UNBOUND,
        further: 0,
        reserved2: 0,
    };
    let (count, latest) = program.dispatches();
    assert_eq!((count - before, latest), (1, record));
    assert_eq!(program.account() - account, u64::from(WORK_US) << 32 | 1);
    // Again: the filter stands, and nothing is chosen.
    program.run("front", &request(family).frame());
    assert_eq!(program.dispatches().0, count);
}

const TRIES: usize = 50;

#[test]
fn a_first_request_tells_how_long_ago_the_handshake_was() {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        program.set_scene(family, &quick());
        program.class_cache().insert(key_of(HEAD).unwrap(), CACHED, 0).unwrap();
        let mut told = |ago: u32, options: fn([u8; 4]) -> Vec<u8>| {
            let echo = ((coarse_clock_ns() >> TICK_SHIFT) as u32).wrapping_sub(ago);
            let segment = request(family).with_options(&options(echo.to_be_bytes()));
            let run = program.run("front", &segment.frame());
            assert_eq!(run.action, TX);
            program.filters().remove(&flow_key(family)).unwrap();
            opened(family, &run.bytes).1.path
        };
        let alone = |[a, b, c, d]: [u8; 4]| vec![1, 1, 8, 10, 0, 0, 0, 9, a, b, c, d];
        let tells = |_| told(31, alone) == PathState::new(0, 32_000);
        assert!((0..TRIES).any(tells), "the test needs some time, too, but not 16 ms each time");
        assert_eq!([10_000, 1 << 31].map(|ago| told(ago, alone)), [PathState::new(0, 256_000); 2]);
        let elsewhere = |[a, b, c, d]: [u8; 4]| vec![8, 10, 0, 0, 0, 9, a, b, c, d, 1, 1];
        assert_eq!(told(31, elsewhere), PathState::UNKNOWN);
        assert_eq!(told(31, |_| Vec::new()), PathState::UNKNOWN);
    }
}

const RUNS: usize = 30_000;
const SEED: u64 = 6;

fn is_cached(key: u64) -> bool {
    !key.is_multiple_of(4)
}

/// What the parser accepts is put into the cache as the control plane would do it, but only three quarters of it.
#[test]
fn the_program_answers_as_the_slow_path_would() {
    let Some(mut program) = Program::load() else { return };
    println!("seed {SEED}");
    let classes = ClassMap::new(ClassId(0), vec![], 1000, ClassKey::Path);
    let mut heads = Heads::new(SEED);
    let (mut quick_ones, mut slow_ones) = (0, 0);
    Family::BOTH.into_iter().for_each(|family| program.set_scene(family, &quick()));
    for run in 0..RUNS {
        let family = Family::BOTH[run % 2];
        let head = heads.next_head();
        if head.is_empty() || head.len() > 1400 {
            continue;
        }
        let answer = match parse_head(&head, HEAD_LIMIT) {
            Head::Complete(head) => Some((classes.classify(&head).0, classes.target(&head))),
            _ => None,
        };
        let known = answer.zip(key_of(&head).filter(|key| is_cached(*key)));
        if let Some(((class, target), key)) = known {
            let cached = CachedClass { target, class, generation: GENERATION, reserved: 0 };
            program.class_cache().insert(key, cached, 0).unwrap();
        }
        let segment =
            Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family)).with_payload(&head);
        let run = program.run("front", &segment.frame());
        let filter = program.filters().get(&flow_key(family), 0).unwrap();
        program.filters().remove(&flow_key(family)).unwrap();
        let text = String::from_utf8_lossy(&head);
        if let Some(((class, _), _)) = known {
            assert_eq!((run.action, filter.state), (TX, state::ESTABLISHED), "{text:?}");
            assert_dispatched(family, &run, &filter, class, &head);
            quick_ones += 1;
        } else {
            assert_eq!((run.action, filter.state), (REDIRECT, state::PENDING), "{text:?}");
            slow_ones += 1;
        }
    }
    println!("{quick_ones} by the class cache, {slow_ones} by the slow path");
    assert!(quick_ones > RUNS / 10 && slow_ones > RUNS / 10);
}

fn assert_dispatched(family: Family, run: &Run, filter: &Filter, class: u16, head: &[u8]) {
    let (segment, ticket) = opened(family, &run.bytes);
    assert_eq!(segment.payload, head);
    assert_eq!((ticket.class, ticket.priority), (class, PRIORITY));
    assert_eq!(run.bytes[..6], SERVER_MAC);
    assert_eq!((filter.class, filter.server, filter.priority), (class, SERVER, PRIORITY));
    assert_eq!(ticket.options, SynOptions(filter.options));
}

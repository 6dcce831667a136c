//! The engine against a filter-table in memory and a made-up dispatcher: frames in, frames and filters out. `World::client`
//! plays the kernel's program: it says what kind of frame it is and installs the pending filter.

mod further;

use std::{collections::HashMap, net::IpAddr, sync::atomic::AtomicBool, time::Duration};

use dispatcher_common::{
    class_cache::CachedClass,
    filter::flag,
    head_scan,
    limits::TICKET_LEN,
    path_state::{PathState, TICK_SHIFT},
    syn_options::MSS_TABLE,
    ticket::{self, Ticket, TicketWords},
};
use dispatcher_core::{admission::Victim, http::RequestHead, ids::Priority};
use proptest::prelude::*;

use super::*;
use crate::front::{
    dispatch::{Decision, Flow, Further, Onward},
    slow_path::{
        class_cache::Entries,
        fixture::{CLIENT_MAC, ENTRY, FRONT_MAC, Shape},
        frame::{TCP_LEN, Timestamps},
    },
};

const KEY: SipKey = SipKey { k0: 3, k1: 4 };
const SERVICE: u16 = 5;
const REQUEST: &[u8] = b"GET /images/a.png HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n";
const MS: u64 = 1_000_000;
const CACHE_KEY: SipKey = SipKey { k0: 5, k1: 6 };
const GENERATION: u32 = 2;

/// The filters, and what somebody else writes after the next look-up.
#[derive(Default)]
struct Table(Mutex<HashMap<FlowKey, Filter>>, Mutex<Option<(FlowKey, Filter)>>);

impl Filters for Table {
    fn lookup(&self, key: &FlowKey) -> io::Result<Option<Filter>> {
        let mut filters = self.0.lock().unwrap();
        let found = filters.get(key).copied();
        filters.extend(self.1.lock().unwrap().take());
        Ok(found)
    }

    fn update_batch(&self, keys: &[FlowKey], filters: &[Filter]) -> usize {
        // A client port of 9 stands for a filter that cannot be written.
        let (good, bad): (Vec<_>, Vec<_>) =
            keys.iter().zip(filters).partition(|(key, _)| key.client_port_be() != 9_u16.to_be());
        self.0.lock().unwrap().extend(good.into_iter().map(|(key, filter)| (*key, *filter)));
        bad.len()
    }

    fn delete(&self, key: &FlowKey) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().remove(key).is_some())
    }
}

/// A class cache in memory that takes a batch of one entry.
#[derive(Default)]
struct Classes(Mutex<HashMap<u64, CachedClass>>);

impl Entries for Classes {
    fn insert(&self, keys: &[u64], classes: &[CachedClass]) -> usize {
        self.0.lock().unwrap().insert(keys[0], classes[0]);
        keys.len() - 1
    }

    fn find(&self, key: u64) -> io::Result<Option<CachedClass>> {
        Ok(self.0.lock().unwrap().get(&key).copied())
    }
}

/// Sends all to server 7 as class 9, but what asks for `/none`; refuses what asks for `/no`, in the way that is set; and lets what
/// asks for `/better` in in the place of another. Keeps count of what is open.
///
/// Further requests stay, as class 9, but those for `/eight`, which is server 8's, as class 8. What asks for `/gold` has priority 5.
#[derive(Default)]
struct ToSeven {
    per_request: AtomicBool,
    continued: AtomicU64,
    reprioritised: Mutex<Vec<(u8, u8)>>,
    way: Mutex<Way>,
    victims: Mutex<Vec<Victim>>,
    open: AtomicU64,
    answered: AtomicU64,
    evicted: AtomicU64,
}

impl Dispatch for ToSeven {
    fn dispatch(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>) -> Judgement {
        assert_eq!(service, SERVICE);
        assert!(["198.18.0.1", "2001:db8::1"].map(|text| text.parse().unwrap()).contains(&client.ip()));
        match head.path {
            "/none" => return Judgement::NoServer,
            "/no" => return Judgement::Refused(self.refusal(service, 2)),
            _ => {}
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let evict_below = (head.path == "/better").then_some(2);
        let known = Some(Known { owner: 3, target: 4711, class: 9 });
        let per_request = self.per_request.load(Ordering::Relaxed);
        let decision =
            Decision { server: 7, class: 9, priority: 2, entry: ENTRY, evict_below, known, per_request };
        Judgement::Dispatched(decision)
    }

    fn further(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>, flow: &Flow) -> Further {
        assert_eq!((service, client.port()), (SERVICE, 40_000));
        if head.path == "/no" {
            return Further::Refused(self.refusal(service, 1));
        }
        let (server, class) = if head.path == "/eight" { (8, 8) } else { (flow.server, 9) };
        let priority = if head.path == "/gold" { 5 } else { flow.priority };
        let known = Some(Known { owner: 3, target: 4711, class });
        Further::Dispatched(Onward { server, class, priority, known })
    }

    fn continued(&self, server: u16, requests: u32) {
        assert_eq!(server, 7);
        self.continued.fetch_add(requests.into(), Ordering::Relaxed);
    }

    fn reprioritised(&self, service: u16, before: u8, after: u8) {
        assert_eq!(service, SERVICE);
        self.reprioritised.lock().unwrap().push((before, after));
    }

    fn refusal(&self, _: u16, _: u8) -> Refusal {
        Refusal { way: *self.way.lock().unwrap(), retry_after: Duration::from_secs(5) }
    }

    fn server(&self, server: u16) -> Option<ServerEntry> {
        (server == 7 || server == 8)
            .then_some(ServerEntry { mac: [2, 0, 0, 0, 0, 10 + server as u8], ..ENTRY })
    }

    fn tuple(&self, key: &FlowKey) -> Option<Tuple> {
        let vip: IpAddr = "198.18.0.100".parse().unwrap();
        let (client_port_be, port_be) = (key.client_port_be(), 80_u16.to_be());
        Some(Tuple { client: key.client, vip: vip.into(), client_port_be, port_be })
    }

    fn answered(&self, _: u16, priority: u8, _: Duration) {
        assert_eq!(priority, 2);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&self, _: u16, priority: u8) {
        assert_eq!(priority, 2);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn victim(&self, _: &FlowKey, below: u8) -> Option<Victim> {
        assert_eq!(below, 2);
        self.victims.lock().unwrap().pop()
    }

    fn evicted(&self, _: u16, priority: u8) {
        assert_eq!(priority, 1);
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

struct World {
    engines: [Engine; 2],
    table: Arc<Table>,
    classes: Arc<Classes>,
    counters: Arc<ControlCounters>,
    dispatch: Arc<ToSeven>,
    outbox: Outbox,
    options: SynOptions,
    now: Now,
}

/// A frame that left.
#[derive(Debug)]
struct Left {
    side: Side,
    bytes: Vec<u8>,
    frame: Frame,
}

impl Left {
    fn new(side: Side, bytes: &[u8]) -> Self {
        let frame = Frame::parse(bytes).unwrap();
        assert!(frame.checksum_holds(bytes));
        Self { side, bytes: bytes.to_vec(), frame }
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.frame.payload..self.frame.end]
    }

    fn ticket(&self) -> Option<Ticket> {
        let at = self.frame.tcp + TCP_LEN;
        let option = self.bytes.get(at..(at + TICKET_LEN).min(self.frame.payload))?;
        let (words, _) = option.as_chunks::<4>();
        let words: TicketWords =
            words.iter().map(|word| u32::from_ne_bytes(*word)).collect::<Vec<_>>().try_into().ok()?;
        let segment = ticket::Segment { tuple: &self.frame.tuple, seq: self.frame.seq, ack: self.frame.ack };
        Ticket::open(&words, &KEY, &segment, Epoch(100)).ok()
    }
}

fn limits() -> Limits {
    Limits { head_limit: 16_384, head_timeout_ns: 5_000 * MS, max_flows: 3, max_memory_bytes: 64 << 10 }
}

impl World {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: Limits) -> Self {
        let (table, counters) = (Arc::<Table>::default(), Arc::<ControlCounters>::default());
        let dispatch = Arc::<ToSeven>::default();
        let link = Link { mtu: 1500, mac: FRONT_MAC };
        let classes = Arc::<Classes>::default();
        let tables = Tables {
            filters: table.clone(),
            class_cache: Some(ClassCache::of(classes.clone(), CACHE_KEY, GENERATION)),
        };
        let shared = Arc::new(Shared::new(dispatch.clone(), tables, counters.clone(), KEY, link, limits));
        Self {
            engines: [Engine::new(shared.clone()), Engine::new(shared)],
            table,
            classes,
            counters,
            dispatch,
            outbox: Outbox::default(),
            options: SynOptions::new(1460, Some(7), true),
            now: Now { ns: 1_000 * MS, epoch: Epoch(100) },
        }
    }

    fn key(shape: &Shape) -> FlowKey {
        let tuple = shape.tuple();
        FlowKey::new(tuple.client, tuple.client_port_be, SERVICE)
    }

    fn filter(&self, shape: &Shape) -> Option<Filter> {
        self.table.lookup(&Self::key(shape)).unwrap()
    }

    fn set_filter(&self, shape: &Shape, state: u8) {
        let filter = Filter {
            handoff_seq: 1001,
            handoff_ack: 5001,
            request_ack: 5001,
            server: 7,
            class: 9,
            priority: 2,
            state,
            ..Filter::default()
        };
        self.table.update_batch(&[Self::key(shape)], &[filter]);
    }

    /// A client's frame on a queue, as its own batch.
    fn client_on(&mut self, queue: usize, shape: &Shape) -> Vec<Left> {
        let left = self.unflushed(queue, shape);
        self.engines[queue].flush();
        left
    }

    fn client(&mut self, shape: &Shape) -> Vec<Left> {
        self.client_on(0, shape)
    }

    fn unflushed(&mut self, queue: usize, shape: &Shape) -> Vec<Left> {
        let kind = match self.filter(shape) {
            None => {
                self.set_pending(shape);
                kind::FIRST
            }
            Some(filter) if filter.handoff_seq == shape.seq && !shape.payload.is_empty() => kind::AGAIN,
            Some(_) => kind::LATER,
        };
        self.given(queue, shape, kind)
    }

    fn set_pending(&self, shape: &Shape) {
        let filter = Filter {
            handoff_seq: shape.seq,
            handoff_ack: shape.ack,
            state: state::PENDING,
            ..Filter::default()
        };
        self.table.update_batch(&[Self::key(shape)], &[filter]);
    }

    fn given(&mut self, queue: usize, shape: &Shape, kind: u8) -> Vec<Left> {
        let handed = if kind >= kind::RETICKET { (7, 9) } else { (0, 0) };
        let meta = SlowPathMeta {
            kind,
            options: self.options.0,
            service: SERVICE,
            server: handed.0,
            class: handed.1,
        };
        let mut buffer = shape.given(meta);
        let verdict = self.engines[queue].handle(&mut buffer, self.now, &mut self.outbox);
        let mut left = self.built();
        if let Verdict::Send { start, end } = verdict {
            left.push(Left::new(Side::Server, &buffer[start..end]));
        }
        left
    }

    fn built(&mut self) -> Vec<Left> {
        let left = self.outbox.frames().map(|(side, bytes)| Left::new(side, bytes)).collect();
        self.outbox.clear();
        left
    }

    fn tick_at(&mut self, ms: u64) -> Vec<Left> {
        self.now.ns = ms * MS;
        self.engines[1].tick(self.now, &mut self.outbox);
        let left = self.built();
        self.engines[1].flush();
        left
    }

    fn open(&self) -> u64 {
        self.dispatch.open.load(Ordering::Relaxed)
    }

    fn count(&self, counter: ControlCounter) -> u64 {
        self.counters.get(counter)
    }

    fn assert_counts(&self, expected: &[(ControlCounter, u64)]) {
        for counter in ControlCounter::ALL {
            let want = expected.iter().find(|(other, _)| other == counter).map_or(0, |(_, count)| *count);
            assert_eq!(self.count(*counter), want, "{}", counter.name());
        }
    }
}

/// `text` from an offset on, as a client with this request sends it.
fn part(text: &[u8], start: usize, end: usize) -> Shape {
    Shape { seq: 1001_u32.wrapping_add(start as u32), ..Shape::request(&text[start..end]) }
}

/// `text` in as many segments of about the same size.
fn parts(text: &[u8], count: usize) -> Vec<Shape> {
    let size = text.len().div_ceil(count);
    (0..count).map(|i| part(text, (i * size).min(text.len()), ((i + 1) * size).min(text.len()))).collect()
}

/// Whether what went to the server is exactly these bytes, the first segment with the ticket.
fn assert_served(left: &[Left], text: &[u8]) {
    let to_server: Vec<_> = left.iter().filter(|left| left.side == Side::Server).collect();
    let mut received = Vec::new();
    for (i, left) in to_server.iter().enumerate() {
        assert_eq!(left.frame.seq, 1001 + received.len() as u32);
        assert_eq!(left.frame.ack, 5001);
        assert_eq!(left.ticket().is_some(), i == 0, "segment {i}");
        assert_eq!(left.bytes[..6], ENTRY.mac);
        received.extend_from_slice(left.payload());
    }
    assert_eq!(received, text);
}

#[test]
fn a_whole_head_goes_on_in_the_same_frame_and_the_filter_flips_after() {
    for ipv4 in [true, false] {
        let mut world = World::new();
        let shape = Shape { ipv4, ..Shape::request(REQUEST) };
        let left = world.unflushed(0, &shape);
        assert_eq!(world.filter(&shape).unwrap().state, state::PENDING);
        assert_served(&left, REQUEST);
        let expected = Ticket {
            kind: ticket::KIND_HAND_OFF,
            options: world.options,
            priority: 2,
            timestamps: true,
            followed: false,
            number: 0,
            class: 9,
            server: 0,
            // The echo is of no handshake that is not long over.
            path: PathState::new(0, 256_000),
        };
        assert_eq!(left[0].ticket(), Some(expected));
        world.engines[0].flush();
        let filter = world.filter(&shape).unwrap();
        assert_eq!(
            (filter.state, filter.server, filter.class, filter.priority),
            (state::ESTABLISHED, 7, 9, 2)
        );
        assert_eq!((filter.handoff_seq, filter.handoff_ack, filter.packets), (1001, 5001, 1));
        assert_eq!((filter.first_seq, filter.flags), (1001, 0));
        assert_eq!((filter.created_ns, filter.options), (world.now.ns, world.options.0));
        assert_eq!((filter.request_ns, filter.response_ns, filter.requests), (world.now.ns, 0, 1));
        let end = 1001 + REQUEST.len() as u32;
        assert_eq!((filter.request_ack, filter.last_ack, filter.next_seq), (5001, 5001, end));
        assert_eq!((filter.client_mac, world.open()), (CLIENT_MAC, 1));
        world.assert_counts(&[(ControlCounter::Dispatched, 1)]);
    }
}

#[test]
fn a_body_behind_the_head_travels_along() {
    let mut world = World::new();
    let text = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_served(&world.client(&Shape::request(text)), text);
}

#[test]
fn an_acknowledgement_that_meets_a_pending_filter_is_taken_along() {
    for (ack, is_answered) in [(5001, false), (5101, true)] {
        let mut world = World::new();
        let shape = Shape::request(REQUEST);
        world.unflushed(0, &shape);
        let pending = world.filter(&shape).unwrap();
        // The program's note.
        let noted = Filter { last_ack: ack, last_seen_ns: world.now.ns + MS, ..pending };
        world.table.update_batch(&[World::key(&shape)], &[noted]);
        world.engines[0].flush();
        let filter = world.filter(&shape).unwrap();
        assert_eq!((filter.state, filter.last_ack), (state::ESTABLISHED, ack));
        assert_eq!(filter.flags & flag::RESPONDED != 0, is_answered);
        assert_eq!(filter.response_ns, if is_answered { world.now.ns + MS } else { 0 });
        assert_eq!(world.dispatch.answered.load(Ordering::Relaxed), u64::from(is_answered));
    }
}

#[test]
fn a_hand_off_tells_how_long_ago_the_handshake_was() {
    for count in [1, 2] {
        let mut world = World::new();
        let echo = (world.now.ns >> TICK_SHIFT) as u32 - 30;
        let timestamps = Some(Timestamps { value: 700, echo });
        let segments = parts(REQUEST, count).into_iter().map(|shape| Shape { timestamps, ..shape });
        let left: Vec<Left> = segments.flat_map(|shape| world.client(&shape)).collect();
        let ticket = left.iter().find_map(Left::ticket).unwrap();
        assert_eq!(ticket.path, PathState::new(0, 31_000), "in {count} segments");
    }
}

#[test]
fn a_request_with_fin_leaves_a_closing_filter() {
    let mut world = World::new();
    let shape = Shape { flags: flags::ACK | flags::PSH | flags::FIN, ..Shape::request(REQUEST) };
    assert_served(&world.client(&shape), REQUEST);
    assert_eq!((world.filter(&shape).unwrap().state, world.open()), (state::CLOSING, 0));
}

#[test]
fn a_first_segment_with_sack_blocks_gets_its_ticket_in_their_place() {
    let mut world = World::new();
    let shape = Shape { sack_blocks: 3, ..Shape::request(REQUEST) };
    let left = world.client(&shape);
    assert_eq!(left[0].bytes.len(), shape.build().len());
    assert_served(&left, REQUEST);
}

#[test]
fn a_segment_too_long_for_a_ticket_is_counted_not_sent() {
    let mut world = World::new();
    let mut text = REQUEST.to_vec();
    text.resize(1460 - 12, b'x');
    let shape = Shape::request(&text);
    assert!(world.client(&shape).is_empty());
    assert_eq!(world.filter(&shape).unwrap().state, state::PENDING);
    world.assert_counts(&[(ControlCounter::TransmitFailed, 1)]);
}

#[test]
fn refused_requests_are_answered_and_their_flows_marked() {
    let long = [b"GET /".to_vec(), vec![b'a'; 1400]].concat();
    let small = Limits { head_limit: 1000, ..limits() };
    let cases: [(&[u8], &str, ControlCounter, Limits); 4] = [
        (b"GET / HTTP/1.1\r\n\r\n", "400", ControlCounter::BadRequest, limits()),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505", ControlCounter::VersionRefused, limits()),
        (b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", "503", ControlCounter::NoServer, limits()),
        (&long, "431", ControlCounter::HeadTooLarge, small),
    ];
    for (text, status, counter, limits) in cases {
        let mut world = World::with(limits);
        let shape = Shape::request(text);
        let left = world.client(&shape);
        let [answer] = &left[..] else { panic!("{status}: {left:?}") };
        assert!(answer.payload().starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        assert_eq!(answer.side, Side::Client);
        assert_eq!(answer.frame.flags, flags::ACK | flags::PSH | flags::FIN);
        assert_eq!((answer.frame.seq, answer.frame.ack), (5001, 1001 + text.len() as u32));
        assert_eq!(answer.frame.timestamps, Some(Timestamps { value: 300, echo: 700 }));
        let filter = world.filter(&shape).unwrap();
        assert_eq!((filter.state, filter.handoff_seq, filter.handoff_ack), (state::ANSWERED, 1001, 5001));
        world.assert_counts(&[(counter, 1)]);
    }
}

const REFUSED: &[u8] = b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n";
const BETTER: &[u8] = b"GET /better HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_refused_client_is_told_in_the_way_that_is_set() {
    for (way, counter) in [
        (Way::Respond, ControlCounter::RequestRefused),
        (Way::Reset, ControlCounter::RequestRefusedReset),
        (Way::Drop, ControlCounter::RequestRefusedDropped),
    ] {
        let mut world = World::new();
        *world.dispatch.way.lock().unwrap() = way;
        let shape = Shape::request(REFUSED);
        let left = world.client(&shape);
        let filter = world.filter(&shape);
        match (way, &left[..]) {
            (Way::Respond, [answer]) => {
                let text = String::from_utf8(answer.payload().to_vec()).unwrap();
                assert!(
                    text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 5\r\n"),
                    "{text}"
                );
                assert_eq!(answer.frame.flags, flags::ACK | flags::PSH | flags::FIN);
                assert_eq!(filter.unwrap().state, state::ANSWERED);
            }
            (Way::Reset, [reset]) => {
                assert_eq!(
                    (reset.side, reset.frame.flags, reset.frame.seq),
                    (Side::Client, flags::RST, 5001)
                );
                assert_eq!(filter, None);
            }
            (Way::Drop, []) => assert_eq!(filter, None, "the client sends it again, and it is judged anew"),
            other => panic!("{other:?}"),
        }
        world.assert_counts(&[(counter, 1)]);
        assert_eq!(world.open(), 0);
    }
}

#[test]
fn a_refused_head_in_two_segments_is_never_met_with_silence() {
    for (way, expected) in [
        (Way::Respond, flags::ACK | flags::PSH | flags::FIN),
        (Way::Reset, flags::RST),
        (Way::Drop, flags::RST),
    ] {
        let mut world = World::new();
        *world.dispatch.way.lock().unwrap() = way;
        world.client(&part(REFUSED, 0, 20));
        let left = world.client(&part(REFUSED, 20, REFUSED.len()));
        assert_eq!(left.iter().map(|left| left.frame.flags).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn what_late_segments_say_is_noted_in_their_filter() {
    let mut world = World::new();
    let first = Shape::request(REQUEST);
    world.client(&first);
    world.now.ns += MS;
    let seq = first.seq + REQUEST.len() as u32;
    let ack = Shape { seq, ack: 5301, flags: flags::ACK, payload: Vec::new(), ..first.clone() };
    world.client(&ack);
    let filter = world.filter(&first).unwrap();
    assert_eq!((filter.last_ack, filter.response_ns, filter.packets), (5301, world.now.ns, 2));
    assert_eq!(world.dispatch.answered.load(Ordering::Relaxed), 1);
    let next = Shape { seq, ack: 5301, ..first.clone() };
    world.client(&next);
    let filter = world.filter(&first).unwrap();
    assert_eq!((filter.requests, filter.response_ns, filter.request_ack), (2, 0, 5301));
    assert_eq!(filter.next_seq, seq + REQUEST.len() as u32);
    // Late itself: nothing goes back.
    world.client(&Shape { ack: 5101, ..ack });
    assert_eq!(world.filter(&first).unwrap().last_ack, 5301);
    assert_eq!(world.dispatch.answered.load(Ordering::Relaxed), 1);
}

#[test]
fn a_request_on_a_kept_connection_is_refused_at_both_ends() {
    for (way, counter) in [
        (Way::Respond, ControlCounter::RequestRefused),
        (Way::Reset, ControlCounter::RequestRefusedReset),
        (Way::Drop, ControlCounter::RequestRefusedDropped),
    ] {
        let mut world = World::new();
        *world.dispatch.way.lock().unwrap() = way;
        world.client(&Shape::request(REQUEST));
        let shape = Shape { seq: 1001 + REQUEST.len() as u32, ack: 7000, ..Shape::request(REQUEST) };
        let left = world.given(0, &shape, kind::KEPT);
        world.engines[0].flush();
        let filter = world.filter(&shape);
        if way == Way::Drop {
            assert!(left.is_empty());
            assert_eq!((filter.unwrap().state, world.open()), (state::ESTABLISHED, 1));
        } else {
            let [client, server] = &left[..] else { panic!("{left:?}") };
            let end = shape.seq + REQUEST.len() as u32;
            let expected = if way == Way::Respond { (7000, end) } else { (7000, 0) };
            assert_eq!((client.side, (client.frame.seq, client.frame.ack)), (Side::Client, expected));
            assert_eq!((server.side, server.frame.flags), (Side::Server, flags::RST));
            assert_eq!((server.frame.seq, &server.bytes[..6]), (shape.seq, &ENTRY.mac[..]));
            assert_eq!(filter.map(|filter| filter.state), (way == Way::Respond).then_some(state::ANSWERED));
            assert_eq!(world.open(), 0);
        }
        world.assert_counts(&[(ControlCounter::Dispatched, 1), (counter, 1)]);
    }
}

/// A flow of priority 1 that may give way, and its filter.
fn lower(world: &World, port: u16) -> Victim {
    let shape = Shape { client_port: port, ..Shape::request(b"") };
    let filter = Filter {
        created_ns: 77,
        packets: 4,
        response_ns: 99,
        last_ack: 9000,
        next_seq: 4000,
        server: 7,
        priority: 1,
        state: state::ESTABLISHED,
        client_mac: CLIENT_MAC,
        ..Filter::default()
    };
    world.table.update_batch(&[World::key(&shape)], &[filter]);
    let priority = Priority::new(1).unwrap();
    let victim = Victim {
        key: World::key(&shape),
        created_ns: 77,
        packets: 4,
        priority,
        adjusted: priority,
        was_waiting: false,
    };
    world.dispatch.victims.lock().unwrap().push(victim);
    victim
}

#[test]
fn a_flow_gives_way_and_both_its_ends_are_reset() {
    let mut world = World::new();
    let victim = lower(&world, 41_000);
    let left = world.client(&Shape::request(BETTER));
    let [client, probe, server, request] = &left[..] else { panic!("{left:?}") };
    assert_eq!((client.side, client.frame.flags, client.frame.seq), (Side::Client, flags::RST, 9000));
    assert_eq!((probe.side, probe.frame.flags), (Side::Client, flags::ACK));
    assert_eq!((probe.frame.seq, probe.frame.ack, probe.payload()), (8999, 4000, &[][..]));
    assert_eq!((&client.bytes[..6], &client.bytes[6..12]), (&CLIENT_MAC[..], &FRONT_MAC[..]));
    assert_eq!(client.frame.tuple.port_be, 41_000_u16.to_be());
    assert_eq!((server.side, server.frame.flags, server.frame.seq), (Side::Server, flags::RST, 4000));
    assert_eq!((&server.bytes[..6], server.frame.tuple.client_port_be), (&ENTRY.mac[..], 41_000_u16.to_be()));
    assert_eq!(request.payload(), BETTER);
    assert_eq!(world.table.lookup(&victim.key).unwrap(), None);
    assert_eq!((world.open(), world.dispatch.evicted.load(Ordering::Relaxed)), (1, 1));
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::FlowEvicted, 1)]);
}

#[test]
fn a_flow_that_has_changed_stays_and_the_next_one_goes() {
    let mut world = World::new();
    let goes = lower(&world, 41_000);
    let busy = lower(&world, 42_000);
    let filter = Filter { packets: 5, ..world.table.lookup(&busy.key).unwrap().unwrap() };
    world.table.update_batch(&[busy.key], &[filter]);
    world.client(&Shape::request(BETTER));
    assert!(world.table.lookup(&busy.key).unwrap().is_some());
    assert!(world.table.lookup(&goes.key).unwrap().is_none());
    world.assert_counts(&[
        (ControlCounter::Dispatched, 1),
        (ControlCounter::VictimChanged, 1),
        (ControlCounter::FlowEvicted, 1),
    ]);
}

#[test]
fn who_is_better_is_served_although_nobody_may_give_way() {
    let mut world = World::new();
    assert_served(&world.client(&Shape::request(BETTER)), BETTER);
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::VictimAbsent, 1)]);
}

#[test]
fn a_damaged_request_is_not_answered() {
    let mut world = World::new();
    let shape = Shape::request(b"\0garbage");
    let meta = SlowPathMeta { kind: kind::FIRST, service: SERVICE, ..SlowPathMeta::default() };
    let mut buffer = shape.given(meta);
    *buffer.last_mut().unwrap() ^= 1;
    assert_eq!(world.engines[0].handle(&mut buffer, world.now, &mut world.outbox), Verdict::Drop);
    assert!(world.outbox.is_empty());
}

#[test]
fn heads_in_many_segments_arrive_whole_in_any_order() {
    let fields: String = (0..20).map(|i| format!("X-Field-{i}: {}\r\n", "v".repeat(150))).collect();
    let text = format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    for count in [2, 5, 20] {
        for reversed in [false, true] {
            let mut world = World::new();
            let mut segments = parts(&text, count);
            if reversed {
                // The cookie proves the first only, so that comes first in any case.
                segments[1..].reverse();
            }
            let (last, before) = segments.split_last().unwrap();
            for (i, segment) in before.iter().enumerate() {
                let left = world.client_on(i % 2, segment);
                let [ack] = &left[..] else { panic!("{left:?}") };
                assert_eq!((ack.side, ack.frame.flags, ack.frame.seq), (Side::Client, flags::ACK, 5001));
            }
            let left = world.client_on(1, last);
            assert_served(&left, &text);
            let filter = world.filter(last).unwrap();
            assert_eq!((filter.state, filter.packets), (state::ESTABLISHED, left.len() as u64));
            assert_eq!(left.last().unwrap().frame.flags, flags::ACK | flags::PSH);
            world.assert_counts(&[
                (ControlCounter::CollectingStarted, 1),
                (ControlCounter::CollectingAcked, count as u64 - 1),
                (ControlCounter::Dispatched, 1),
            ]);
        }
    }
}

#[test]
fn a_lost_segment_that_comes_again_completes_the_head() {
    let mut world = World::new();
    let segments = parts(REQUEST, 5);
    for i in [0, 1, 3, 4] {
        let left = world.client(&segments[i]);
        let expected = if i == 0 { segments[1].seq } else { segments[2].seq };
        assert_eq!(left[0].frame.ack, expected);
    }
    assert_served(&world.client(&segments[2]), REQUEST);
}

#[test]
fn duplicates_and_overlaps_change_nothing() {
    let mut world = World::new();
    let segments = parts(REQUEST, 4);
    world.client(&segments[0]);
    // The first segment again while it is pending.
    assert_eq!(world.client(&segments[0])[0].frame.ack, segments[1].seq);
    world.client(&segments[2]);
    world.client(&segments[2]);
    // Overlapping, with other content where bytes are there already.
    let mut overlap = part(REQUEST, 10, segments[3].seq as usize - 1001);
    overlap.payload[0] ^= 1;
    world.client(&overlap);
    assert_served(&world.client(&segments[3]), REQUEST);
}

#[test]
fn one_byte_segments_are_collected() {
    let mut world = World::new();
    let mut left = Vec::new();
    for i in 0..REQUEST.len() {
        left = world.client(&part(REQUEST, i, i + 1));
    }
    assert_served(&left, REQUEST);
    assert_eq!(world.count(ControlCounter::CollectingAcked), REQUEST.len() as u64 - 1);
}

#[test]
fn a_head_beyond_the_limit_is_answered_with_431() {
    let mut world = World::new();
    let text = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 17_000]].concat();
    let mut left = Vec::new();
    for segment in parts(&text, 15) {
        left = world.client(&segment);
        if world.count(ControlCounter::HeadTooLarge) > 0 {
            break;
        }
    }
    assert!(left[0].payload().starts_with(b"HTTP/1.1 431 "));
    assert_eq!(left[0].frame.ack, 1001 + 16_384);
    assert_eq!(world.filter(&Shape::request(b"")).unwrap().state, state::ANSWERED);
    assert!(!world.engines[0].shared.is_collecting());
}

#[test]
fn a_collected_head_may_be_refused_or_find_no_server() {
    for (text, status) in [
        (&b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"[..], "503"),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "400"),
    ] {
        let mut world = World::new();
        let [first, second] = &parts(text, 2)[..] else { unreachable!() };
        world.client(first);
        let left = world.client(second);
        assert!(left[0].payload().starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        assert_eq!(left[0].frame.ack, 1001 + text.len() as u32);
        assert_eq!(world.filter(first).unwrap().state, state::ANSWERED);
    }
}

#[test]
fn a_collected_head_is_sent_again_until_a_response_is_seen() {
    let mut world = World::new();
    let [first, second] = &parts(REQUEST, 2)[..] else { unreachable!() };
    world.client(first);
    assert_served(&world.client(second), REQUEST);
    assert!(world.tick_at(1_100).is_empty());
    assert_served(&world.tick_at(1_210), REQUEST);
    assert!(world.tick_at(1_500).is_empty());
    assert_served(&world.tick_at(1_620), REQUEST);
    let answered = Filter { response_ns: 1, packets: 44, ..world.filter(first).unwrap() };
    world.table.update_batch(&[World::key(first)], &[answered]);
    assert!(world.tick_at(2_500).is_empty());
    assert!(!world.engines[0].shared.is_collecting());
    assert_eq!(world.filter(first).unwrap().packets, 44);
    assert_eq!(world.count(ControlCounter::CollectedResent), 2);
}

#[test]
fn a_collected_head_is_not_sent_again_for_a_flow_that_is_gone_or_another() {
    let other = Filter { handoff_seq: 5, state: state::ESTABLISHED, ..Filter::default() };
    let closed = Filter { handoff_seq: 1001, handoff_ack: 5001, state: state::CLOSING, ..Filter::default() };
    for filter in [None, Some(other), Some(closed)] {
        let mut world = World::new();
        for segment in parts(REQUEST, 2) {
            world.client(&segment);
        }
        let key = World::key(&Shape::request(b""));
        match filter {
            None => drop(world.table.delete(&key)),
            Some(filter) => drop(world.table.update_batch(&[key], &[filter])),
        }
        assert!(world.tick_at(1_300).is_empty());
        assert!(!world.engines[0].shared.is_collecting());
    }
}

#[test]
fn a_head_that_is_not_complete_in_time_is_reset() {
    let mut world = World::new();
    let shape = part(REQUEST, 0, 20);
    world.client(&shape);
    assert!(world.tick_at(5_900).is_empty());
    let left = world.tick_at(6_001);
    assert_eq!((left[0].side, left[0].frame.flags, left[0].frame.seq), (Side::Client, flags::RST, 5001));
    assert_eq!(world.filter(&shape), None);
    assert_eq!(world.count(ControlCounter::HeadTimeout), 1);
}

#[test]
fn a_time_out_spares_the_filter_of_a_newer_connection() {
    let mut world = World::new();
    let shape = part(REQUEST, 0, 20);
    world.client(&shape);
    world.table.delete(&World::key(&shape)).unwrap();
    assert_eq!(world.client(&Shape { seq: 50, ack: 60, ..Shape::request(REQUEST) }).len(), 1);
    assert!(world.tick_at(6_001).is_empty());
    assert_eq!(world.filter(&shape).unwrap().handoff_seq, 50);
    assert_eq!(world.count(ControlCounter::HeadTimeout), 0);
}

#[test]
fn flows_and_memory_have_bounds_and_the_client_may_try_again() {
    let mut world = World::with(Limits { max_memory_bytes: 3 * 2048, ..limits() });
    let from = |client_port, shape: Shape| Shape { client_port, ..shape };
    for client_port in 1..=3 {
        world.client(&from(client_port, part(REQUEST, 0, 9)));
    }
    assert!(world.client(&from(4, part(REQUEST, 0, 9))).is_empty());
    assert!(world.client(&from(1, Shape { seq: 1001 + 3000, ..Shape::request(b"x") })).is_empty());
    assert_eq!(world.count(ControlCounter::CollectFlowsFull), 1);
    assert_eq!(world.count(ControlCounter::CollectMemoryFull), 1);
    for client_port in 1..=3 {
        assert_eq!(world.client(&from(client_port, part(REQUEST, 9, REQUEST.len()))).len(), 1);
    }
    world.tick_at(7_000);
    world.tick_at(8_000);
    world.tick_at(9_000);
    world.tick_at(20_000);
    assert_eq!(world.client(&from(4, part(REQUEST, 0, 9))).len(), 1);
}

#[test]
fn a_client_that_closes_before_its_head_is_complete_is_reset() {
    for lone in [false, true] {
        let mut world = World::new();
        world.client(&part(REQUEST, 0, 20));
        let end = if lone { 20 } else { 30 };
        let fin = Shape { flags: flags::ACK | flags::FIN, ..part(REQUEST, 20, end) };
        let left = world.client(&fin);
        assert_eq!((left[0].side, left[0].frame.flags, left[0].frame.seq), (Side::Client, flags::RST, 5001));
        assert_eq!(world.filter(&fin), None);
        assert_eq!(world.count(ControlCounter::ClientGone), 1);
        assert!(!world.engines[0].shared.is_collecting());
    }
}

#[test]
fn a_fin_behind_the_head_goes_with_its_last_segment() {
    let mut world = World::new();
    let [first, second] = &parts(REQUEST, 2)[..] else { unreachable!() };
    world.client(first);
    let left = world.client(&Shape { flags: flags::ACK | flags::FIN, ..second.clone() });
    assert_served(&left, REQUEST);
    assert_eq!(left.last().unwrap().frame.flags, flags::ACK | flags::PSH | flags::FIN);
    assert_eq!(world.filter(first).unwrap().state, state::CLOSING);
    assert_served(&world.tick_at(1_300), REQUEST);
}

#[test]
fn a_reset_of_a_pending_flow_ends_it() {
    for collecting in [true, false] {
        let mut world = World::new();
        if collecting {
            world.client(&part(REQUEST, 0, 20));
        } else {
            world.set_filter(&Shape::request(b""), state::PENDING);
        }
        let rst = Shape { flags: flags::RST | flags::ACK, ..part(REQUEST, 20, 20) };
        assert!(world.client(&rst).is_empty());
        assert_eq!(world.filter(&rst), None);
        assert_eq!(world.count(ControlCounter::ClientGone), 1);
    }
}

#[test]
fn the_first_segment_again_goes_to_the_same_server() {
    let mut world = World::new();
    let shape = Shape::request(REQUEST);
    world.unflushed(0, &shape);
    // In the same batch, before the flip.
    assert_served(&world.unflushed(0, &shape), REQUEST);
    world.engines[0].flush();
    // On another queue, after it.
    assert_served(&world.given(1, &shape, kind::AGAIN), REQUEST);
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::LaterForwarded, 2)]);
}

#[test]
fn the_first_segment_again_is_decided_if_nobody_knows_it() {
    let mut world = World::new();
    let shape = Shape::request(REQUEST);
    world.set_filter(&shape, state::PENDING);
    assert_served(&world.client(&shape), REQUEST);
    assert_eq!(world.filter(&shape).unwrap().state, state::ESTABLISHED);
    world.assert_counts(&[(ControlCounter::Dispatched, 1)]);
}

#[test]
fn segments_after_the_dispatch_are_forwarded_and_their_fin_is_noted() {
    let mut world = World::new();
    let first = Shape::request(REQUEST);
    world.unflushed(0, &first);
    let body = Shape { seq: 1001 + REQUEST.len() as u32, ..Shape::request(b"more") };
    let left = world.given(0, &body, kind::LATER);
    assert_eq!((left[0].side, left[0].payload(), left[0].ticket()), (Side::Server, &b"more"[..], None));
    assert_eq!(left[0].bytes[..12], [ENTRY.mac, ENTRY.source_mac].concat());
    world.engines[0].flush();
    let fin = Shape { flags: flags::ACK | flags::FIN, ..body };
    assert_eq!(world.given(1, &fin, kind::LATER).len(), 1);
    world.engines[1].flush();
    assert_eq!(world.filter(&first).unwrap().state, state::CLOSING);
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::LaterForwarded, 2)]);
}

#[test]
fn segments_whose_beginning_nobody_knows_are_dropped() {
    let mut world = World::new();
    world.set_filter(&Shape::request(b""), state::PENDING);
    assert!(world.client(&part(REQUEST, 20, 30)).is_empty());
    world.table.delete(&World::key(&Shape::request(b""))).unwrap();
    for kind in [kind::LATER, kind::AGAIN] {
        assert!(world.given(0, &part(REQUEST, 20, 30), kind).is_empty());
    }
    world.assert_counts(&[(ControlCounter::PendingLost, 3)]);
}

#[test]
fn a_request_that_comes_twice_is_told_to_the_class_cache() {
    let mut world = World::new();
    let from = |client_port| Shape { client_port, ..Shape::request(REQUEST) };
    world.client(&from(1));
    assert!(world.classes.0.lock().unwrap().is_empty(), "once is not enough");
    world.client(&from(2));
    let key = head_scan::key_of(&CACHE_KEY, 3, REQUEST, limits().head_limit).unwrap();
    let class = CachedClass { target: 4711, generation: GENERATION, class: 9, reserved: 0 };
    assert_eq!(*world.classes.0.lock().unwrap(), HashMap::from([(key, class)]));
    world.client(&from(3));
    world.assert_counts(&[(ControlCounter::Dispatched, 3), (ControlCounter::ClassCached, 1)]);
    world.now.ns += 2_000 * MS;
    world.client(&from(4));
    world.assert_counts(&[(ControlCounter::Dispatched, 4), (ControlCounter::ClassCached, 2)]);
}

#[test]
fn a_class_that_cannot_be_remembered_is_counted() {
    let mut world = World::new();
    for port in 1..=4 {
        let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", port % 2).into_bytes();
        world.unflushed(0, &Shape { client_port: port, ..Shape::request(&head) });
    }
    world.engines[0].flush();
    world.assert_counts(&[
        (ControlCounter::Dispatched, 4),
        (ControlCounter::ClassCached, 1),
        (ControlCounter::ClassCacheFailed, 1),
    ]);
}

#[test]
fn what_is_not_dispatched_or_unusual_is_not_told_to_the_class_cache() {
    let mut world = World::new();
    let body: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for (port, head) in
        [(1, &b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"[..]), (4, body), (7, b"GET / HTTP/1.0\r\n\r\n")]
    {
        for again in 0..2 {
            world.client(&Shape { client_port: port + again, ..Shape::request(head) });
        }
    }
    assert!(world.classes.0.lock().unwrap().is_empty());
}

#[test]
fn segments_after_an_answer_are_dropped() {
    let mut world = World::new();
    let shape = Shape::request(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(world.unflushed(0, &shape).len(), 1);
    assert!(world.given(0, &shape, kind::AGAIN).is_empty());
    assert!(world.given(0, &part(REQUEST, 20, 30), kind::LATER).is_empty());
    world.assert_counts(&[(ControlCounter::BadRequest, 1)]);
}

#[test]
fn a_repeated_hand_off_gets_a_ticket_in_place_of_its_sack_blocks() {
    let mut world = World::new();
    let shape = Shape { sack_blocks: 2, ..Shape::request(REQUEST) };
    world.set_filter(&shape, state::ESTABLISHED);
    let left = world.given(0, &shape, kind::RETICKET);
    assert_served(&left, REQUEST);
    assert_eq!(left[0].ticket().unwrap().priority, 2);
    world.assert_counts(&[(ControlCounter::Reticketed, 1)]);
}

#[test]
fn a_filter_that_cannot_be_written_is_counted() {
    let mut world = World::new();
    let shape = Shape { client_port: 9, ..Shape::request(REQUEST) };
    world.given(0, &shape, kind::FIRST);
    world.engines[0].flush();
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::FilterUpdateFailed, 1)]);
}

#[test]
fn clients_without_options_are_served_within_their_segment_size() {
    for (scale, window) in [(None, 64_240), (Some(0), 501)] {
        let mut world = World::new();
        world.options = SynOptions::new(536, scale, false);
        let text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(2000)).into_bytes();
        let segments: Vec<_> =
            parts(&text, 4).into_iter().map(|shape| Shape { timestamps: None, ..shape }).collect();
        let mut left = Vec::new();
        for segment in &segments {
            if let [Left { side: Side::Client, frame, .. }] = &left[..] {
                assert_eq!((frame.window, frame.timestamps), (window, None));
            }
            left = world.client(segment);
        }
        assert_served(&left, &text);
        assert!(left.iter().all(|left| left.frame.end - left.frame.tcp - TCP_LEN <= 536));
    }
}

#[test]
fn frames_that_cannot_be_are_dropped() {
    let mut world = World::new();
    for mut buffer in
        [vec![], vec![0; 10], vec![1; 200], Shape::request(REQUEST).given(SlowPathMeta::default())]
    {
        assert_eq!(world.engines[0].handle(&mut buffer, world.now, &mut world.outbox), Verdict::Drop);
    }
    world.assert_counts(&[]);
}

proptest! {
    #[test]
    fn any_cut_order_and_repetition_is_served_once_and_whole(
        filler in 0_usize..6000, size in 20_usize..1400, order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        mss in prop::sample::select(MSS_TABLE.to_vec()), ipv4: bool, timestamps: bool, queues in proptest::collection::vec(0_usize..2, 1..8),
    ) {
        let text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(filler)).into_bytes();
        let segments: Vec<Shape> = (0..text.len())
            .step_by(size)
            .map(|at| {
                let shape = part(&text, at, (at + size).min(text.len()));
                Shape { ipv4, timestamps: shape.timestamps.filter(|_| timestamps), ..shape }
            })
            .collect();
        let mut world = World::new();
        world.options = SynOptions::new(mss, Some(3), true);
        // First the first, then a mix with repetitions, then all in order.
        let sequence = std::iter::once(0).chain(order.iter().map(|i| i.index(segments.len()))).chain(0..segments.len());
        let mut served = Vec::new();
        for (i, at) in sequence.enumerate() {
            let left = world.client_on(queues[i % queues.len()], &segments[at]);
            if left.iter().any(|left| left.side == Side::Server) {
                served = left;
                break;
            }
        }
        assert_served(&served, &text);
        prop_assert_eq!(world.count(ControlCounter::Dispatched), 1);
    }
}

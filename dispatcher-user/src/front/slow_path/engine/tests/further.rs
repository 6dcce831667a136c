//! Further requests of a connection: what the filter says after the first, where the next ones go, and what becomes of all that
//! cannot be understood. `World::sends` plays the kernel's program for an established flow.

use dispatcher_common::{
    filter::{flag, opaque},
    path_state::PathState,
    per_request::{Data, Released, data_of, released},
};

use super::*;

const EIGHT: &[u8] = b"GET /eight HTTP/1.1\r\nHost: example.org\r\n\r\n";
const CHUNKED: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const ASKED: u8 = flag::ASKED;
const FOLLOWED: u8 = flag::FOLLOWED;

fn post(length: u64) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

impl World {
    fn following() -> Self {
        let world = Self::new();
        world.dispatch.per_request.store(true, Ordering::Relaxed);
        world
    }

    /// A connection that was handed off.
    fn handed_off() -> Self {
        let mut world = Self::following();
        world.client(&Shape::request(REQUEST));
        world
    }

    fn state(&self) -> Filter {
        self.filter(&Shape::request(b"")).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Filter)) {
        let mut filter = self.state();
        change(&mut filter);
        self.table.update_batch(&[Self::key(&Shape::request(b""))], &[filter]);
    }

    /// The next request, sent once the ones before are answered.
    fn next(&self, text: &[u8]) -> Shape {
        let filter = self.state();
        Shape { seq: filter.boundary, ack: filter.request_ack + 300, ..Shape::request(text) }
    }

    /// What the program makes of data: notes its acknowledgement, and says of what kind it is.
    fn kind_of(&self, shape: &Shape) -> u8 {
        let mut filter = self.state();
        filter.packets += 1;
        filter.last_ack = shape.ack;
        if filter.response_ns == 0 && shape.ack > filter.request_ack {
            filter.response_ns = self.now.ns;
            filter.flags |= flag::RESPONDED;
        }
        let kind = match data_of(&filter, shape.seq, shape.seq + shape.payload.len() as u32) {
            Data::Request => {
                filter.flags ^= FOLLOWED | ASKED;
                kind::FURTHER
            }
            Data::Again => kind::FURTHER,
            Data::Behind => kind::BEHIND,
            other => panic!("{other:?} does not come here"),
        };
        self.table.update_batch(&[Self::key(shape)], &[filter]);
        kind
    }

    /// A frame on a queue that is not flushed yet.
    fn sends(&mut self, queue: usize, shape: &Shape) -> Left {
        let kind = self.kind_of(shape);
        self.one(queue, shape, kind)
    }

    /// A frame that goes on, with a ticket or without.
    fn one(&mut self, queue: usize, shape: &Shape, kind: u8) -> Left {
        let mut left = self.given(queue, shape, kind);
        assert_eq!(left.len(), 1, "{left:?}");
        let left = left.remove(0);
        assert_eq!((left.side, left.payload()), (Side::Server, &shape.payload[..]));
        assert_eq!((left.frame.seq, left.frame.ack, left.frame.flags), (shape.seq, shape.ack, shape.flags));
        assert_eq!(left.bytes[..6], ENTRY.mac, "to the server that has the connection");
        left
    }

    /// The next request as a batch of its own.
    fn further(&mut self, text: &[u8]) -> Left {
        let left = self.sends(0, &self.next(text));
        self.engines[0].flush();
        left
    }

    fn continued(&self) -> u64 {
        self.dispatch.continued.load(Ordering::Relaxed)
    }
}

fn flags_of(filter: &Filter) -> u8 {
    filter.flags & (FOLLOWED | ASKED)
}

fn kind_of(left: &Left) -> Option<u8> {
    left.ticket().map(|ticket| ticket.kind)
}

#[test]
fn a_first_request_says_where_the_next_one_may_start() {
    let (two, split) = ([REQUEST, REQUEST].concat(), [REQUEST, &EIGHT[..9]].concat());
    let (body, long) = (post(100_000), post(1 << 31));
    let cases: [(&[u8], u32, Result<usize, u8>); 6] = [
        (REQUEST, 1, Ok(REQUEST.len())),
        (&two, 2, Ok(two.len())),
        (&body, 1, Ok(body.len() + 100_000)),
        (CHUNKED, 1, Err(opaque::CHUNKED)),
        (&split, 2, Err(opaque::SPLIT)),
        (&long, 1, Err(opaque::LONG_BODY)),
    ];
    for (text, requests, next) in cases {
        // In one segment, and in two of which the second completes the head.
        for cut in [0, 20] {
            let mut world = World::following();
            if cut > 0 {
                world.client(&part(text, 0, cut));
            }
            let left = world.client(&part(text, cut, text.len()));
            assert_served(&left, text);
            let (ticket, filter) = (left[0].ticket().unwrap(), world.state());
            assert_eq!((ticket.kind, ticket.number), (ticket::KIND_HAND_OFF, 0));
            assert_eq!((ticket.followed, filter.requests), (next.is_ok(), requests));
            let (flags, code) = next.map_or_else(|code| (0, code), |_| (FOLLOWED, opaque::NOT));
            assert_eq!((flags_of(&filter), filter.opaque, filter.number), (flags, code, 0));
            if let Ok(next) = next {
                assert_eq!(filter.boundary, 1001 + next as u32);
            }
            assert_eq!(world.continued(), u64::from(requests) - 1);
        }
    }
}

#[test]
fn a_service_that_dispatches_first_requests_only_follows_nothing() {
    let mut world = World::new();
    let left = world.client(&Shape::request(&[REQUEST, REQUEST].concat()));
    let filter = world.state();
    assert!(!left[0].ticket().unwrap().followed);
    assert_eq!((filter.flags, filter.opaque, filter.requests, filter.boundary), (0, opaque::NOT, 1, 0));
}

#[test]
fn a_further_request_that_stays_is_sent_for_the_books() {
    let mut world = World::handed_off();
    let shape = world.next(REQUEST);
    world.now.ns += MS;
    let left = world.sends(0, &shape);
    let expected = Ticket {
        kind: ticket::KIND_BOOKS,
        options: world.options,
        priority: 2,
        timestamps: true,
        followed: true,
        number: 1,
        class: 9,
        server: 7,
        path: PathState::UNKNOWN,
    };
    assert_eq!(left.ticket(), Some(expected));
    // At once: the response may come before the batch is through.
    let filter = world.state();
    world.engines[0].flush();
    assert_eq!(filter.flags, FOLLOWED | flag::FURTHER);
    assert_eq!((filter.handoff_seq, filter.handoff_ack, filter.number), (shape.seq, shape.ack, 1));
    assert_eq!((filter.request_ns, filter.request_ack, filter.response_ns), (world.now.ns, shape.ack, 0));
    let end = shape.seq + REQUEST.len() as u32;
    assert_eq!((filter.boundary, filter.next_seq, filter.requests), (end, end, 2));
    assert_eq!((filter.packets, filter.last_ack), (2, shape.ack), "the program's to count");
    assert_eq!((world.continued(), world.open()), (0, 1));
    world.assert_counts(&[
        (ControlCounter::Dispatched, 1),
        (ControlCounter::FurtherStayed, 1),
        (ControlCounter::ClassCached, 1),
    ]);
}

#[test]
fn a_further_request_for_another_server_is_sent_to_the_one_that_has_the_connection() {
    let mut world = World::handed_off();
    let ticket = world.further(EIGHT).ticket().unwrap();
    assert_eq!((ticket.kind, ticket.server, ticket.class), (ticket::KIND_MOVE, 8, 8));
    let filter = world.state();
    assert_eq!(filter.flags, FOLLOWED | flag::FURTHER | flag::MOVING);
    assert_eq!((filter.server, filter.move_to, filter.class), (7, 8, 8));
    assert_eq!((filter.kept_busy, filter.moves), (0, 0));
    // The next one shows that it was kept.
    assert_eq!(kind_of(&world.further(REQUEST)), Some(ticket::KIND_BOOKS));
    let filter = world.state();
    assert_eq!((filter.flags, filter.kept_busy), (FOLLOWED | flag::FURTHER, 1));
    assert_eq!((filter.class, filter.number, filter.requests), (9, 2, 3));
    world.assert_counts(&[
        (ControlCounter::Dispatched, 1),
        (ControlCounter::FurtherMoving, 1),
        (ControlCounter::FurtherStayed, 1),
        (ControlCounter::MoveKeptBusy, 1),
        (ControlCounter::ClassCached, 1),
    ]);
}

#[test]
fn a_request_may_be_released_before_its_batch_is_through() {
    let mut world = World::handed_off();
    let shape = world.next(b"PUT /eight HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(kind_of(&world.sends(0, &shape)), Some(ticket::KIND_MOVE));
    let filter = world.state();
    assert_eq!(released(&filter, shape.seq, 8), Released::Take);
    assert_eq!((filter.flags, filter.requests), (FOLLOWED | flag::FURTHER | flag::MOVING, 2));
    world.engines[0].flush();
    assert_eq!(world.state(), filter);
}

#[test]
fn numbers_count_all_requests_before_modulo_256() {
    let mut world = World::handed_off();
    assert_eq!(world.further(&[EIGHT, REQUEST, EIGHT].concat()).ticket().unwrap().number, 1);
    assert_eq!(world.continued(), 2);
    assert_eq!(world.further(REQUEST).ticket().unwrap().number, 4);
    world.change(|filter| filter.requests = 513);
    assert_eq!(world.further(REQUEST).ticket().unwrap().number, 1);
    assert_eq!((world.state().number, world.state().requests), (1, 514));
}

#[test]
fn a_request_before_the_latest_has_a_response_goes_without_a_ticket() {
    for moving in [false, true] {
        let mut world = World::handed_off();
        if moving {
            world.further(EIGHT);
        }
        let before = world.state();
        let shape = Shape { ack: before.request_ack, ..world.next(&[REQUEST, EIGHT].concat()) };
        assert_eq!(world.sends(0, &shape).ticket(), None);
        world.engines[0].flush();
        let end = shape.seq + shape.payload.len() as u32;
        let expected = Filter {
            boundary: end,
            next_seq: end,
            requests: before.requests + 2,
            packets: before.packets + 1,
            ..before
        };
        assert_eq!(world.state(), expected, "the latest ticket is still the one before's");
        assert_eq!((world.count(ControlCounter::FurtherForwarded), world.continued()), (1, 2));
        let ticket = world.further(REQUEST).ticket().unwrap();
        assert_eq!((ticket.kind, u32::from(ticket.number)), (ticket::KIND_BOOKS, before.requests + 2));
    }
}

#[test]
fn an_acknowledgement_that_nobody_has_noted_yet_counts() {
    let mut world = World::handed_off();
    world.now.ns += MS;
    let shape = world.next(REQUEST);
    world.change(|filter| filter.flags ^= FOLLOWED | ASKED);
    assert_eq!(kind_of(&world.one(0, &shape, kind::FURTHER)), Some(ticket::KIND_BOOKS));
    assert_eq!(world.dispatch.answered.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_no_whole_request_stays_with_its_flow() {
    let cases: [(&[u8], u8, ControlCounter); 2] = [
        (&EIGHT[..20], opaque::SPLIT, ControlCounter::OpaqueSplit),
        (b"\x81\x05hello", opaque::MALFORMED, ControlCounter::OpaqueMalformed),
    ];
    for (text, code, counter) in cases {
        let mut world = World::handed_off();
        let shape = world.next(text);
        let ticket = world.further(text).ticket().unwrap();
        assert_eq!((ticket.kind, ticket.number, ticket.followed), (ticket::KIND_BOOKS, 1, false));
        assert_eq!((ticket.server, ticket.class), (7, 9));
        let filter = world.state();
        assert_eq!(
            (filter.flags, filter.opaque),
            (flag::FURTHER, code),
            "its repetition needs the ticket, too"
        );
        assert_eq!((filter.requests, filter.next_seq), (2, shape.seq + text.len() as u32));
        assert_eq!((filter.handoff_seq, filter.number), (shape.seq, 1));
        assert_eq!(world.continued(), 1, "it is work all the same");
        world.assert_counts(&[
            (ControlCounter::Dispatched, 1),
            (ControlCounter::FurtherStayed, 1),
            (counter, 1),
        ]);
    }
}

#[test]
fn a_request_behind_which_nothing_is_clear_is_the_last_one_with_a_ticket() {
    let (straight, long) = ([EIGHT, &[0]].concat(), post(1 << 40));
    let cases: [(&[u8], u8, ControlCounter); 5] = [
        (CHUNKED, opaque::CHUNKED, ControlCounter::OpaqueChunked),
        (
            b"GET /eight HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            opaque::UPGRADE,
            ControlCounter::OpaqueUpgrade,
        ),
        (
            b"POST /eight HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            opaque::EXPECT,
            ControlCounter::OpaqueExpect,
        ),
        (&long, opaque::LONG_BODY, ControlCounter::OpaqueLongBody),
        (&straight, opaque::MALFORMED, ControlCounter::OpaqueMalformed),
    ];
    for (text, code, counter) in cases {
        let mut world = World::handed_off();
        let ticket = world.further(text).ticket().unwrap();
        assert_eq!((ticket.kind == ticket::KIND_MOVE, ticket.followed), (ticket.server == 8, false));
        let filter = world.state();
        assert_eq!((flags_of(&filter), filter.opaque, filter.number), (0, code, 1));
        assert_eq!(world.count(counter), 1, "{}", counter.name());
    }
}

#[test]
fn a_repetition_gets_the_same_ticket_until_there_is_a_response() {
    let mut world = World::handed_off();
    let shape = world.next(EIGHT);
    let first = world.sends(0, &shape);
    let again = shape.clone();
    // In the same batch, and on another queue after it.
    assert_eq!(world.one(0, &again, kind::FURTHER).ticket(), first.ticket());
    world.engines[0].flush();
    assert_eq!(world.one(1, &again, kind::FURTHER).ticket(), first.ticket());
    let sacked = Shape { sack_blocks: 3, ..again.clone() };
    assert_eq!(world.one(1, &sacked, kind::FURTHER_AGAIN).ticket(), first.ticket());
    world.change(|filter| filter.flags |= flag::RESPONDED);
    assert_eq!(world.one(1, &sacked, kind::FURTHER_AGAIN).ticket(), None);
    assert_eq!(world.one(1, &again, kind::FURTHER).ticket(), None);
    world.assert_counts(&[
        (ControlCounter::Dispatched, 1),
        (ControlCounter::FurtherMoving, 1),
        (ControlCounter::Reticketed, 3),
        (ControlCounter::LaterForwarded, 1),
        (ControlCounter::FurtherForwarded, 1),
    ]);
}

/// What the program notes of an acknowledgement while it waits is of the request before.
#[test]
fn a_repetition_that_acknowledges_more_than_its_request_gets_no_ticket() {
    let mut world = World::handed_off();
    let shape = world.next(EIGHT);
    let again = Shape { ack: shape.ack + 5, ..shape.clone() };
    for shape in [&shape, &again] {
        world.kind_of(shape);
    }
    assert_eq!(kind_of(&world.one(0, &shape, kind::FURTHER)), Some(ticket::KIND_MOVE));
    assert_eq!(world.one(0, &again, kind::FURTHER).ticket(), None);
    // The segment after it makes the program take the request for answered, and drop its release.
    world.change(|filter| filter.flags |= flag::RESPONDED);
    assert_eq!(released(&world.state(), shape.seq, 8), Released::Stale);
}

#[test]
fn a_released_request_that_comes_again_is_handed_off_again_under_its_number() {
    let mut world = World::handed_off();
    let shape = world.next(EIGHT);
    world.further(EIGHT);
    // As the program leaves it, but for the server.
    world.change(|filter| {
        filter.flags &= !(flag::FURTHER | flag::MOVING);
        filter.moves = 1;
    });
    let ticket = world.one(0, &Shape { sack_blocks: 3, ..shape }, kind::RETICKET).ticket().unwrap();
    assert_eq!((ticket.kind, ticket.number, ticket.followed), (ticket::KIND_HAND_OFF, 1, true));
    assert_eq!((ticket.class, ticket.path), (8, PathState::UNKNOWN));
}

#[test]
fn data_behind_a_request_is_forwarded_as_it_is_once_the_flow_is_followed_again() {
    let mut world = World::handed_off();
    let first = world.next(&post(5));
    let seq = first.seq + first.payload.len() as u32;
    let body = Shape { seq, payload: b"hello".to_vec(), ..first.clone() };
    let second = Shape { seq: seq + 5, payload: REQUEST.to_vec(), ..first.clone() };
    let kinds = [&first, &body, &second].map(|shape| world.kind_of(shape));
    assert_eq!(kinds, [kind::FURTHER, kind::BEHIND, kind::BEHIND]);
    assert_eq!(kind_of(&world.one(0, &first, kind::FURTHER)), Some(ticket::KIND_BOOKS));
    let followed = world.state();
    assert_eq!((flags_of(&followed), followed.boundary), (FOLLOWED, second.seq));
    assert_eq!(world.one(0, &body, kind::BEHIND).ticket(), None);
    assert_eq!(world.one(0, &second, kind::BEHIND).ticket(), None);
    world.engines[0].flush();
    assert_eq!(world.state(), followed, "the program may be dispatching the second one");
    assert_eq!(world.continued(), 1, "which its server has all the same");
    world.assert_counts(&[
        (ControlCounter::Dispatched, 1),
        (ControlCounter::FurtherStayed, 1),
        (ControlCounter::BehindForwarded, 2),
    ]);
}

#[test]
fn a_request_that_begins_in_the_middle_of_data_cannot_be_followed() {
    let mut world = World::following();
    let first = Shape::request(&post(5));
    world.unflushed(0, &first);
    let seq = first.seq + first.payload.len() as u32;
    let later = Shape { seq, payload: [&b"hello"[..], REQUEST].concat(), ..first };
    world.one(0, &later, kind::LATER);
    world.engines[0].flush();
    let filter = world.state();
    assert_eq!((flags_of(&filter), filter.opaque), (0, opaque::STRADDLED));
    assert_eq!(filter.next_seq, later.seq + later.payload.len() as u32);
    assert_eq!(world.count(ControlCounter::OpaqueStraddled), 1);
}

#[test]
fn data_behind_a_request_on_another_queue_is_forwarded_without_a_note() {
    let mut world = World::handed_off();
    let first = world.next(REQUEST);
    let behind = Shape { seq: first.seq + REQUEST.len() as u32, ..first.clone() };
    world.kind_of(&first);
    let asked = world.state();
    assert_eq!(world.one(1, &behind, kind::BEHIND).ticket(), None);
    world.engines[1].flush();
    assert_eq!(world.state(), asked);
    // Nor once that one is done: the flow is the program's again.
    world.one(0, &first, kind::FURTHER);
    let followed = world.state();
    world.one(1, &behind, kind::BEHIND);
    world.engines[1].flush();
    assert_eq!(world.state(), followed);
}

#[test]
fn a_pipelined_request_that_came_while_the_first_was_pending_is_followed() {
    let mut world = World::following();
    let first = Shape::request(REQUEST);
    world.unflushed(0, &first);
    let second = Shape { seq: 1001 + REQUEST.len() as u32, ..first };
    assert_eq!(world.one(0, &second, kind::LATER).ticket(), None);
    world.engines[0].flush();
    let filter = world.state();
    assert_eq!((filter.requests, filter.boundary), (2, second.seq + REQUEST.len() as u32));
    assert_eq!((flags_of(&filter), filter.handoff_seq), (FOLLOWED, 1001));
}

#[test]
fn a_request_that_came_before_its_flow_was_established_or_asked_about_is_dispatched() {
    for kind in [kind::LATER, kind::BEHIND] {
        let mut world = World::handed_off();
        let shape = world.next(EIGHT);
        assert_eq!(kind_of(&world.one(0, &shape, kind)), Some(ticket::KIND_MOVE));
        let filter = world.state();
        assert_eq!((filter.flags, filter.requests), (FOLLOWED | flag::FURTHER | flag::MOVING, 2));
    }
}

/// What came while the filter was pending, or asked about, meets one that the program writes again: it would lose a request that the
/// program has dispatched meanwhile.
#[test]
fn a_flow_that_is_followed_is_the_program_s() {
    for kind in [kind::LATER, kind::BEHIND] {
        for (text, responded) in [(EIGHT, 0), (b"", 0), (b"", 300)] {
            let mut world = World::handed_off();
            let before = world.state();
            let shape = Shape { ack: before.request_ack + responded, ..world.next(text) };
            assert_eq!(world.one(0, &shape, kind).ticket(), None);
            world.engines[0].flush();
            assert_eq!(world.state(), before);
            assert_eq!(world.dispatch.answered.load(Ordering::Relaxed), 0, "the program counts it");
        }
    }
}

#[test]
fn the_end_of_a_flow_that_is_followed_is_noted_where_no_request_can_start_any_more() {
    let ends = |flags, seq: fn(&Shape) -> u32, text: &[u8]| {
        let mut world = World::handed_off();
        let next = world.next(text);
        world.one(0, &Shape { flags, seq: seq(&next), ..next }, kind::LATER);
        (world.state().state, world.open())
    };
    let fin = flags::ACK | flags::FIN;
    assert_eq!(ends(fin, |next| next.seq, b""), (state::CLOSING, 0));
    assert_eq!(ends(fin, |next| next.seq - 5, b"hello"), (state::CLOSING, 0));
    assert_eq!(ends(fin, |next| next.seq + 5, b"hello"), (state::ESTABLISHED, 1));
    assert_eq!(ends(flags::RST, |next| next.seq + 9, b""), (state::CLOSING, 0));
}

#[test]
fn nothing_is_written_while_a_release_may_be_taken() {
    let mut world = World::handed_off();
    let first = world.next(b"POST /eight HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let seq = first.seq + first.payload.len() as u32;
    let body = Shape { seq, payload: b"5\r\nhello\r\n".to_vec(), ..first.clone() };
    for shape in [&first, &body] {
        world.kind_of(shape);
    }
    assert_eq!(kind_of(&world.one(0, &first, kind::FURTHER)), Some(ticket::KIND_MOVE));
    let moving = world.state();
    assert_eq!((moving.flags, moving.opaque), (flag::FURTHER | flag::MOVING, opaque::CHUNKED));
    world.one(0, &body, kind::BEHIND);
    assert_eq!(world.state(), moving);
    // Once it is answered nobody takes it any more.
    world.change(|filter| filter.flags |= flag::RESPONDED);
    world.one(0, &body, kind::BEHIND);
    assert_eq!(world.state().next_seq, body.seq + body.payload.len() as u32);
}

#[test]
fn a_ticket_goes_out_only_if_the_filter_tells_of_it() {
    let other = |filter: &Filter, flags| {
        let (boundary, requests) = (filter.boundary + EIGHT.len() as u32, filter.requests + 1);
        Filter { boundary, requests, flags, ..*filter }
    };
    for (flags, expected) in
        [(FOLLOWED | flag::RESPONDED, None), (FOLLOWED | flag::FURTHER, Some(ticket::KIND_BOOKS))]
    {
        let mut world = World::handed_off();
        let shape = world.next(EIGHT);
        world.kind_of(&shape);
        let mut latest = other(&world.state(), flags);
        if expected.is_some() {
            (latest.handoff_seq, latest.request_ack, latest.response_ns) = (shape.seq, shape.ack, 0);
        }
        // Another queue deals with a copy of it between the look-up and the decision.
        *world.table.1.lock().unwrap() = Some((World::key(&shape), latest));
        assert_eq!(kind_of(&world.one(0, &shape, kind::FURTHER)), expected);
        assert_eq!(world.state(), latest);
        world.assert_counts(&[
            (ControlCounter::Dispatched, 1),
            (ControlCounter::ClassCached, 0),
            (
                if expected.is_some() {
                    ControlCounter::Reticketed
                } else {
                    ControlCounter::FurtherForwarded
                },
                1,
            ),
        ]);
    }
}

#[test]
fn a_flow_that_is_gone_or_another_is_left_alone() {
    let mut world = World::handed_off();
    let shape = world.next(REQUEST);
    let key = World::key(&shape);
    let other = Filter { created_ns: 1, state: state::PENDING, ..Filter::default() };
    world.table.update_batch(&[key], &[other]);
    assert!(world.given(0, &shape, kind::FURTHER).is_empty());
    assert_eq!(world.state(), other);
    world.table.delete(&key).unwrap();
    for kind in [kind::FURTHER, kind::BEHIND, kind::FURTHER_AGAIN] {
        assert!(world.given(0, &shape, kind).is_empty());
    }
    assert_eq!(world.count(ControlCounter::PendingLost), 4);
}

#[test]
fn a_request_that_cannot_be_sent_is_asked_for_again() {
    let mut world = World::handed_off();
    world.change(|filter| filter.server = 6);
    let shape = world.next(REQUEST);
    let kind = world.kind_of(&shape);
    assert!(world.given(0, &shape, kind).is_empty());
    world.engines[0].flush();
    assert_eq!((flags_of(&world.state()), world.state().requests), (ASKED, 1));
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::TransmitFailed, 1)]);
    world.change(|filter| filter.server = 7);
    assert_eq!(kind_of(&world.sends(0, &shape)), Some(ticket::KIND_BOOKS));
}

#[test]
fn a_request_too_long_for_a_ticket_goes_without() {
    let mut world = World::handed_off();
    let mut text = post(4000);
    let boundary = world.next(&text).seq + text.len() as u32 + 4000;
    text.resize(1460 - 12, b'x');
    assert_eq!(world.further(&text).ticket(), None);
    let filter = world.state();
    assert_eq!((flags_of(&filter), filter.boundary, filter.requests), (FOLLOWED, boundary, 2));
    assert_eq!(
        (filter.request_ack, filter.response_ns),
        (5301, 0),
        "its response is waited for all the same"
    );
    world.assert_counts(&[(ControlCounter::Dispatched, 1), (ControlCounter::FurtherForwarded, 1)]);
}

#[test]
fn sack_blocks_give_way_to_a_ticket() {
    let mut world = World::handed_off();
    let shape = Shape { sack_blocks: 3, ..world.next(EIGHT) };
    let left = world.sends(0, &shape);
    assert_eq!((kind_of(&left), left.bytes.len()), (Some(ticket::KIND_MOVE), shape.build().len()));
}

#[test]
fn another_priority_becomes_the_flow_s_and_counts_while_it_is_open() {
    for (state, counted) in [(state::ESTABLISHED, vec![(2, 5)]), (state::CLOSING, vec![])] {
        let mut world = World::handed_off();
        world.change(|filter| filter.state = state);
        let left = world.further(b"GET /gold HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((left.ticket().unwrap().priority, world.state().priority), (5, 5));
        assert_eq!(*world.dispatch.reprioritised.lock().unwrap(), counted);
    }
}

#[test]
fn a_refused_further_request_is_told_at_both_ends() {
    for (way, counter) in [
        (Way::Respond, ControlCounter::RequestRefused),
        (Way::Reset, ControlCounter::RequestRefusedReset),
        (Way::Drop, ControlCounter::RequestRefusedDropped),
    ] {
        let mut world = World::handed_off();
        *world.dispatch.way.lock().unwrap() = way;
        let shape = world.next(REFUSED);
        let kind = world.kind_of(&shape);
        let left = world.given(0, &shape, kind);
        world.engines[0].flush();
        let filter = world.filter(&shape);
        match (way, &left[..]) {
            (Way::Drop, []) => {
                assert_eq!((flags_of(&filter.unwrap()), world.open()), (ASKED, 1), "it is judged again");
            }
            (_, [client, server]) => {
                assert_eq!((client.side, client.frame.seq), (Side::Client, shape.ack));
                assert_eq!((server.frame.flags, server.frame.seq), (flags::RST, shape.seq));
                let state = (way == Way::Respond).then_some(state::ANSWERED);
                assert_eq!((filter.map(|filter| filter.state), world.open()), (state, 0));
            }
            other => panic!("{other:?}"),
        }
        world.assert_counts(&[(ControlCounter::Dispatched, 1), (counter, 1)]);
    }
}

#[test]
fn a_further_request_with_fin_closes_the_flow() {
    let mut world = World::handed_off();
    let shape = Shape { flags: flags::ACK | flags::PSH | flags::FIN, ..world.next(REQUEST) };
    world.sends(0, &shape);
    assert_eq!((world.state().state, world.open()), (state::CLOSING, 0));
    world.engines[0].flush();
    assert_eq!(world.open(), 0);
}

#[test]
fn the_class_cache_learns_from_what_is_one_whole_request() {
    let two = [EIGHT, EIGHT].concat();
    let cases: [(&[u8], bool); 4] = [
        (EIGHT, true),
        (&two, false),
        (b"GET /eight HTTP/1.1\r\nHost: example.org\r\nUpgrade: h2c\r\n\r\n", false),
        (b"GET /eight HTTP/1.1\r\nHost: example.org\r\n\r\nGET", false),
    ];
    let key = head_scan::key_of(&CACHE_KEY, 3, EIGHT, limits().head_limit).unwrap();
    let class = CachedClass { target: 4711, generation: GENERATION, class: 8, reserved: 0 };
    for (text, learns) in cases {
        let mut world = World::handed_off();
        let boundary = world.state().boundary;
        for _ in 0..2 {
            world.change(|filter| {
                filter.flags = FOLLOWED;
                (filter.boundary, filter.next_seq) = (boundary, boundary);
            });
            world.further(text);
        }
        let expected = if learns { HashMap::from([(key, class)]) } else { HashMap::new() };
        assert_eq!(*world.classes.0.lock().unwrap(), expected, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_filter_that_cannot_be_written_is_counted_for_a_further_request_too() {
    let mut world = World::handed_off();
    let shape = Shape { client_port: 9, ack: 5001, ..world.next(REQUEST) };
    // The table refuses this port only as an update.
    let filter = Filter { flags: ASKED, ..world.state() };
    world.table.0.lock().unwrap().insert(World::key(&shape), filter);
    assert_eq!(world.one(0, &shape, kind::FURTHER).ticket(), None);
    assert_eq!(world.count(ControlCounter::FilterUpdateFailed), 1);
}

/// A connection's requests, and the program beside the engine.
struct Stream {
    text: Vec<u8>,
    /// Where each request starts, and the end.
    starts: Vec<usize>,
}

impl Stream {
    fn new(bodies: &[usize]) -> Self {
        let (mut text, mut starts) = (Vec::new(), vec![0]);
        for (number, body) in bodies.iter().enumerate() {
            let path = if number % 3 == 0 { "/a" } else { "/eight" };
            let head = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n");
            text.extend(head.as_bytes());
            text.extend(vec![b'x'; *body]);
            starts.push(text.len());
        }
        Self { text, starts }
    }

    /// The number of the request that starts at a sequence number.
    fn number(&self, seq: u32) -> Option<usize> {
        self.starts[..self.starts.len() - 1].iter().position(|start| 1001 + *start as u32 == seq)
    }
}

impl World {
    /// A segment as the program treats it. Gives what reaches the server.
    fn travels(&mut self, shape: &Shape, flushes: bool) -> Option<Ticket> {
        let mut filter = self.state();
        let end = shape.seq + shape.payload.len() as u32;
        let plain = match data_of(&filter, shape.seq, end) {
            Data::Plain => true,
            Data::Straddles => {
                filter.flags &= !(FOLLOWED | ASKED);
                filter.opaque = opaque::STRADDLED;
                true
            }
            _ => false,
        };
        let ticket = if plain {
            filter.next_seq = filter.next_seq.max(end);
            self.table.update_batch(&[Self::key(shape)], &[filter]);
            None
        } else {
            self.sends(0, shape).ticket()
        };
        if flushes {
            self.engines[0].flush();
        }
        ticket
    }
}

proptest! {
    #[test]
    fn tickets_stand_at_requests_only_and_count_those_before(
        bodies in proptest::collection::vec(0_usize..200, 1..8),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..6),
        at_requests: bool,
    ) {
        let stream = Stream::new(&bodies);
        // Where segments begin; most clients begin one with each request.
        let mut places: Vec<usize> = cuts.iter().map(|(cut, ..)| cut.index(stream.text.len())).collect();
        places.extend(&stream.starts);
        if !at_requests {
            places.retain(|place| !stream.starts[1..stream.starts.len() - 1].contains(place));
        }
        places.sort_unstable();
        places.dedup();
        let mut world = World::following();
        let mut turns = cuts.iter().map(|(_, answered, flushes)| (*answered, *flushes)).cycle();
        let (mut ack, mut tickets) = (5001, 0);
        for (number, bounds) in places.windows(2).enumerate() {
            let (answered, flushes) = turns.next().unwrap_or((true, true));
            ack += u32::from(answered) * 300;
            let shape = Shape { ack, ..part(&stream.text, bounds[0], bounds[1]) };
            if world.filter(&shape).is_none_or(|filter| filter.state == state::PENDING) {
                world.client(&Shape { ack: 5001, ..shape });
                continue;
            }
            let ticket = world.travels(&shape, flushes || number % 2 == 0);
            if let Some(ticket) = ticket {
                tickets += 1;
                prop_assert_eq!(stream.number(shape.seq), Some(usize::from(ticket.number)));
                prop_assert!([ticket::KIND_BOOKS, ticket::KIND_MOVE].contains(&ticket.kind));
            }
        }
        world.engines[0].flush();
        let filter = world.state();
        prop_assert_eq!(u64::from(tickets > 0), u64::from(filter.flags & flag::FURTHER != 0));
        let is_followed = flags_of(&filter) == FOLLOWED;
        let seen = stream.starts.iter().position(|start| 1001 + *start as u32 == filter.boundary);
        prop_assert!(!is_followed || seen == Some(filter.requests as usize), "the next one is known and numbered");
        prop_assert!(is_followed || !at_requests || !cuts.is_empty(), "one request a segment can be followed");
    }
}

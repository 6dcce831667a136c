//! First requests and the segments that follow while the control plane thinks.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, state},
    per_request::is_after,
    slow_path::{SlowPathMeta, kind},
};

use crate::{
    program::{EPOCH, PRIORITY, cookie_of, service_id},
    segment::{ACK, CLIENT_MAC, FIN, Family, RST, Segment},
    table::{self, Case, DROP, ISN, Outcome, REDIRECT, World, filter, good_ack, options},
};

pub(crate) fn request(family: Family) -> Segment {
    Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family))
        .with_timestamps()
        .with_payload(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The frame went out as it is, after this metadata.
fn handed_over(family: Family, kind: u8) -> impl Fn(&Outcome) {
    move |outcome| {
        outcome.assert_untouched();
        let meta =
            SlowPathMeta { kind, options: options().0, service: service_id(family), server: 0, class: 0 };
        assert_eq!(outcome.meta, Some(meta));
    }
}

fn admitted(family: Family, name: &'static str, segment: Segment) -> Case {
    let frame = segment.frame();
    let bytes = frame.len() as u64;
    Case::new(name, frame, REDIRECT, [FrontCounter::RequestFirst]).check(move |outcome| {
        handed_over(family, kind::FIRST)(outcome);
        let after = outcome.filter.expect("a pending filter");
        assert!(after.created_ns > 0 && after.last_seen_ns == after.created_ns);
        let expected = Filter {
            created_ns: after.created_ns,
            last_seen_ns: after.last_seen_ns,
            packets: 1,
            bytes,
            handoff_seq: ISN.wrapping_add(1),
            handoff_ack: segment.ack,
            request_ns: after.created_ns,
            request_ack: segment.ack,
            last_ack: segment.ack,
            next_seq: ISN.wrapping_add(1 + segment.payload.len() as u32),
            first_seq: ISN.wrapping_add(1),
            requests: 1,
            client_mac: CLIENT_MAC,
            state: state::PENDING,
            options: options().0,
            priority: PRIORITY,
            ..Filter::default()
        };
        assert_eq!(after, expected);
    })
}

fn not_admitted(family: Family, name: &'static str, world: World, counter: FrontCounter) -> Case {
    Case::new(name, request(family).frame(), DROP, [counter])
        .in_world(world)
        .check(|outcome| assert_eq!(outcome.filter, None, "no filter is left behind"))
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut previous = request(family);
    previous.ack = cookie_of(family, options(), ISN, EPOCH.previous()).wrapping_add(1);
    let mut with_fin = request(family);
    with_fin.flags |= FIN;
    let mut cases = vec![
        admitted(family, "a request with a good cookie goes to the slow path", request(family)),
        admitted(family, "so with a cookie of the last epoch", previous),
        admitted(family, "so when the client closes at once", with_fin),
        admitted(family, "so when it is a single byte", request(family).with_payload(b"G")),
        not_admitted(family, "a full table admits nobody", World::FullTable, FrontCounter::FilterTableFull),
        not_admitted(
            family,
            "nobody listens on the queue",
            World::NoSlowPath,
            FrontCounter::SlowPathAbsentDropped,
        ),
        not_admitted(
            family,
            "there is no room for metadata",
            World::NoHeadroom,
            FrontCounter::NoHeadroomDropped,
        ),
    ];
    cases.extend(pending(family));
    cases
}

fn pending(family: Family) -> Vec<Case> {
    let mut later = request(family);
    later.seq = later.seq.wrapping_add(1000);
    let mut bare = request(family).with_payload(b"");
    let mut closed = bare.clone();
    closed.flags |= FIN;
    let mut aborted = bare.clone();
    aborted.flags = RST;
    bare.seq = bare.seq.wrapping_add(1000);
    let mut answered = bare.clone();
    answered.ack = answered.ack.wrapping_add(1000);
    let given = |name, segment: Segment, counter, kind| {
        let before = filter(family, state::PENDING).last_ack;
        let is_news = segment.flags & ACK != 0 && is_after(segment.ack, before);
        let last_ack = if is_news { segment.ack } else { before };
        Case::new(name, segment.frame(), REDIRECT, [counter])
            .with_filter(filter(family, state::PENDING))
            .check(move |outcome| {
                handed_over(family, kind)(outcome);
                let after = outcome.filter.unwrap();
                assert_eq!((after.state, after.packets), (state::PENDING, 11));
                assert!(after.last_seen_ns > 1);
                assert_eq!(after.last_ack, last_ack);
            })
    };
    vec![
        given("the first segment again", request(family), FrontCounter::RequestAgain, kind::AGAIN),
        given("a later segment", later.clone(), FrontCounter::RequestLater, kind::LATER),
        given("a FIN of a pending flow", closed, FrontCounter::RequestLater, kind::LATER),
        given("a RST of a pending flow", aborted, FrontCounter::RequestLater, kind::LATER),
        given(
            "an ACK of a response that came before the filter was written",
            answered,
            FrontCounter::RequestLater,
            kind::LATER,
        ),
        Case::new(
            "an ACK of a pending flow has nothing to say",
            bare.frame(),
            DROP,
            [FrontCounter::PendingAckDropped],
        )
        .with_filter(filter(family, state::PENDING)),
        Case::new(
            "nobody listens for a pending flow",
            later.frame(),
            DROP,
            [FrontCounter::SlowPathAbsentDropped],
        )
        .with_filter(filter(family, state::PENDING))
        .in_world(World::NoSlowPath)
        .check(|outcome| assert_eq!(outcome.filter.unwrap().state, state::PENDING)),
    ]
}

#[test]
fn requests_go_to_the_slow_path_with_what_the_cookie_says() {
    table::run(cases);
}

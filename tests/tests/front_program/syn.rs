//! SYNs: the answer's every field, for all kinds of clients.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, flag, state},
    syn_options::{DEFAULT_MSS, SynOptions},
};

use crate::{
    program::{EPOCH, MSS_IPV4, MSS_IPV6, cookie_of},
    segment::{ACK, CLIENT_MAC, CLIENT_PORT, FIN, FRONT_MAC, Family, PORT, RST, SYN, Segment},
    table::{self, Case, DROP, ISN, Outcome, TX, World, established, filter},
};

const LINUX: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9];
const WINDOWS: [u8; 12] = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
const REVERSED: [u8; 20] = [3, 3, 9, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 4, 2, 2, 4, 5, 0xb4];
const UNKNOWN_FIRST: [u8; 24] =
    [34, 2, 69, 4, 1, 2, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 0, 3];

fn syn(family: Family, options: &[u8]) -> Segment {
    Segment::of_client(family, SYN, ISN, 0).with_options(options)
}

/// MSS, SACK, timestamps, window scale of our SYN-ACK, or no-operations.
#[derive(Clone, Copy)]
struct Answer {
    negotiated: (u16, Option<u8>, bool),
    timestamps: bool,
}

impl Answer {
    fn check(self, family: Family) -> impl Fn(&Outcome) {
        move |outcome| {
            let (mss, scale, sack) = self.negotiated;
            let reply = outcome.segment();
            assert_eq!(outcome.after.len(), family.payload_offset() + 40, "frame length");
            assert_eq!((reply.destination_mac, reply.source_mac), (CLIENT_MAC, FRONT_MAC));
            assert_eq!((reply.source, reply.destination), (family.vip(), family.client()));
            assert_eq!((reply.source_port, reply.destination_port), (PORT, CLIENT_PORT));
            assert_eq!((reply.flags, reply.window, reply.hop_limit), (SYN | ACK, 64_240, 64));
            assert_eq!(reply.ack, ISN.wrapping_add(1));
            assert_eq!(reply.seq, cookie_of(family, SynOptions::new(mss, scale, sack), ISN, EPOCH), "cookie");
            let ours = match family {
                Family::Ipv4 => MSS_IPV4,
                Family::Ipv6 => MSS_IPV6,
            };
            assert_eq!(reply.options[..4], [[2, 4], ours.to_be_bytes()].concat());
            assert_eq!(reply.options[4..6], if sack { [4, 2] } else { [1, 1] });
            self.check_timestamps(&reply.options[6..16]);
            assert_eq!(reply.options[16..], if scale.is_some() { [1, 3, 3, 7] } else { [1; 4] });
            check_ip(family, &outcome.after);
        }
    }

    fn check_timestamps(self, option: &[u8]) {
        if self.timestamps {
            assert_eq!((&option[..2], &option[6..]), (&[8, 10][..], &[0, 0, 0, 77][..]));
            assert_ne!(option[2..6], [0; 4], "TSval");
        } else {
            assert_eq!(option, [1; 10]);
        }
    }
}

/// No ECN, don't fragment, no flow label.
fn check_ip(family: Family, frame: &[u8]) {
    match family {
        Family::Ipv4 => assert_eq!((frame[15], &frame[20..22]), (0, &[0x40, 0][..])),
        Family::Ipv6 => assert_eq!(frame[14..18], [0x60, 0, 0, 0]),
    }
}

fn answered(
    family: Family,
    name: &'static str,
    frame: Vec<u8>,
    negotiated: (u16, Option<u8>, bool),
    timestamps: bool,
) -> Case {
    Case::new(name, frame, TX, [FrontCounter::SynAnswered])
        .check(Answer { negotiated, timestamps }.check(family))
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = vec![
        answered(
            family,
            "a SYN of Linux is answered with all that it offers",
            syn(family, &LINUX).frame(),
            (1460, Some(9), true),
            true,
        ),
        answered(
            family,
            "a SYN of Windows gets no timestamps",
            syn(family, &WINDOWS).frame(),
            (1460, Some(8), true),
            false,
        ),
        answered(
            family,
            "the order of options does not matter",
            syn(family, &REVERSED).frame(),
            (1460, Some(9), true),
            true,
        ),
        answered(
            family,
            "unknown options are stepped over and the end of options ends them",
            syn(family, &UNKNOWN_FIRST).frame(),
            (1460, None, true),
            true,
        ),
        answered(
            family,
            "a SYN without options is grown and gets the default MSS",
            syn(family, &[]).frame(),
            (DEFAULT_MSS, None, false),
            false,
        ),
        answered(
            family,
            "a SYN with an MSS alone",
            syn(family, &[2, 4, 0x02, 0x18]).frame(),
            (536, None, false),
            false,
        ),
        answered(
            family,
            "an option of impossible length ends the list",
            syn(family, &[2, 4, 5, 0xb4, 4, 0, 3, 3]).frame(),
            (1460, None, false),
            false,
        ),
        answered(
            family,
            "data of a SYN is cut off",
            syn(family, &LINUX).with_payload(&[7; 700]).frame(),
            (1460, Some(9), true),
            true,
        ),
        answered(
            family,
            "forty bytes of no-operations are endured",
            syn(family, &[1; 40]).frame(),
            (DEFAULT_MSS, None, false),
            false,
        ),
    ];
    cases.extend(noted(family));
    cases.extend(refused(family));
    cases
}

fn noted(family: Family) -> Vec<Case> {
    let answer = Answer { negotiated: (1460, Some(9), true), timestamps: true };
    let mut old = established(family);
    old.first_seq = 5_000;
    let mut cases: Vec<Case> = [state::PENDING, state::ESTABLISHED, state::CLOSING, state::ANSWERED]
        .map(|state| {
            let old = Filter { state, ..old };
            Case::new(
                "a SYN of a flow with a filter is noted there and answered the same",
                syn(family, &LINUX).frame(),
                TX,
                [FrontCounter::SynNoted],
            )
            .with_filter(old)
            .check(move |outcome| {
                answer.check(family)(outcome);
                let after = outcome.filter.expect("the filter stays");
                assert_eq!((after.noted_isn, after.flags), (ISN, flag::SYN_NOTED));
                assert_eq!((after.state, after.packets), (state, old.packets));
            })
        })
        .into();
    let late = |name, filter: Filter| {
        Case::new(name, syn(family, &LINUX).frame(), TX, [FrontCounter::SynAnswered])
            .with_filter(filter)
            .check(move |outcome| assert_eq!(outcome.filter.unwrap(), filter))
    };
    let own = filter(family, state::ESTABLISHED);
    cases.extend([
        late("a late copy of the SYN of the filter's own connection is not noted", own),
        late("so after a further request", Filter { handoff_seq: 5_000, flags: flag::FURTHER, ..own }),
    ]);
    cases
}

fn refused(family: Family) -> Vec<Case> {
    let mut cases: Vec<Case> = [SYN | ACK, SYN | FIN, SYN | RST]
        .map(|flags| {
            let mut segment = syn(family, &LINUX);
            segment.flags = flags;
            Case::new(
                "a SYN with ACK, FIN or RST is malformed",
                segment.frame(),
                DROP,
                [FrontCounter::MalformedDropped],
            )
        })
        .into();
    cases.push(
        Case::new(
            "a SYN that cannot grow is dropped",
            syn(family, &[]).frame(),
            DROP,
            [FrontCounter::NoHeadroomDropped],
        )
        .in_world(World::NoHeadroom),
    );
    cases
}

#[test]
fn syns_are_answered_in_place_and_leave_no_state() {
    table::run(cases);
}

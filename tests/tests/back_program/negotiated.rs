//! What the ticket says of the handshake, as the server's socket and its answers show it.

use std::net::TcpStream;

use dispatcher_common::{
    counter::BackCounter as Counter, limits::WINDOW_SCALE, syn_options::SynOptions, ticket::Ticket,
};

use crate::{
    connection::{CLASS, accept_request, hand_off, listen, respond},
    frame::{self, ECHO, TIMESTAMP, TIMESTAMPS},
    lab::Lab,
    scenario::{self, Scenario},
    tcp_info::tcp_info,
};

const COUNTERS: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "all that a Linux client offers", counters: COUNTERS, play: linux },
    Scenario { name: "nothing at all", counters: COUNTERS, play: nothing },
    Scenario {
        name: "window scaling without timestamps, as Windows does",
        counters: COUNTERS,
        play: windows,
    },
    Scenario { name: "a SACK block beside the ticket", counters: COUNTERS, play: sack_block },
    Scenario { name: "timestamps behind another option", counters: COUNTERS, play: odd_place },
    Scenario { name: "a ticket for timestamps on a segment without", counters: COUNTERS, play: absent },
    Scenario {
        name: "the least MSS is raised to what the kernel takes",
        counters: COUNTERS,
        play: least_mss,
    },
];

/// Of `struct tcp_info`.
#[derive(Debug, PartialEq, Eq)]
struct Negotiated {
    timestamps: bool,
    sack: bool,
    /// Of what the server sends, and of what it receives.
    window_scales: Option<(u8, u8)>,
    /// What fits a segment of the server's, options taken off.
    payload_len: u32,
}

impl Negotiated {
    fn read(stream: &TcpStream) -> Self {
        let info = tcp_info(stream);
        let has = |bit: u8| info.tcpi_options & bit != 0;
        let scales = (info.tcpi_snd_rcv_wscale & 0xf, info.tcpi_snd_rcv_wscale >> 4);
        Self {
            timestamps: has(1),
            sack: has(2),
            window_scales: has(4).then_some(scales),
            payload_len: info.tcpi_snd_mss,
        }
    }
}

/// Hands off with a ticket and options, and has it answered.
fn negotiate(lab: &mut Lab, ticket: Ticket, options: &[u8]) -> Negotiated {
    let listener = listen(lab);
    lab.send(&hand_off(lab).ticket(ticket).options(options));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    let negotiated = Negotiated::read(&stream);
    respond(lab, &mut stream);
    let response = lab.answer(|answer| !answer.payload.is_empty());
    match response.timestamps() {
        Some((value, echo)) => {
            assert!(negotiated.timestamps);
            assert_eq!(echo, TIMESTAMP);
            assert!(value.wrapping_sub(ECHO) < 10_000, "TSval {value} goes on where the client's echo is");
        }
        None => assert!(!negotiated.timestamps && response.options.is_empty(), "{response:?}"),
    }
    negotiated
}

fn ticket(options: SynOptions, timestamps: bool) -> Ticket {
    Ticket { options, timestamps, ..frame::ticket(CLASS) }
}

/// What an MSS leaves on the rig's MTU of 1500.
fn payload_len(lab: &Lab, mss: u32, timestamps: bool) -> u32 {
    let headers_len = if lab.vip.is_ipv4() { 40 } else { 60 };
    mss.min(1500 - headers_len) - if timestamps { 12 } else { 0 }
}

fn full(lab: &Lab) -> Negotiated {
    Negotiated {
        timestamps: true,
        sack: true,
        window_scales: Some((10, WINDOW_SCALE)),
        payload_len: payload_len(lab, 1460, true),
    }
}

fn linux(lab: &mut Lab) {
    assert_eq!(negotiate(lab, frame::ticket(CLASS), &TIMESTAMPS), full(lab));
}

fn nothing(lab: &mut Lab) {
    let ticket = ticket(SynOptions::new(1400, None, false), false);
    let expected = Negotiated {
        timestamps: false,
        sack: false,
        window_scales: None,
        payload_len: payload_len(lab, 1400, false),
    };
    assert_eq!(negotiate(lab, ticket, &[]), expected);
}

fn windows(lab: &mut Lab) {
    let ticket = ticket(SynOptions::new(1460, Some(8), true), false);
    let expected = Negotiated {
        timestamps: false,
        window_scales: Some((8, WINDOW_SCALE)),
        payload_len: payload_len(lab, 1460, false),
        ..full(lab)
    };
    assert_eq!(negotiate(lab, ticket, &[]), expected);
}

fn sack_block(lab: &mut Lab) {
    let options = [&TIMESTAMPS[..], &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]].concat();
    assert_eq!(negotiate(lab, frame::ticket(CLASS), &options), full(lab));
}

fn odd_place(lab: &mut Lab) {
    let options = [&[5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1], &TIMESTAMPS[2..], &[1, 1, 1]].concat();
    assert_eq!(negotiate(lab, frame::ticket(CLASS), &options), full(lab));
}

/// Whoever made the ticket, the segment decides: the client does not expect any.
fn absent(lab: &mut Lab) {
    let expected = Negotiated { timestamps: false, payload_len: payload_len(lab, 1460, false), ..full(lab) };
    assert_eq!(negotiate(lab, frame::ticket(CLASS), &[]), expected);
}

fn least_mss(lab: &mut Lab) {
    let least = if lab.vip.is_ipv4() { 536 } else { 1220 };
    let expected = Negotiated { payload_len: payload_len(lab, least, true), ..full(lab) };
    let ticket = ticket(SynOptions::new(0, Some(10), true), true);
    assert_eq!(negotiate(lab, ticket, &TIMESTAMPS), expected);
}

#[test]
fn a_connection_has_the_options_of_its_ticket() {
    scenario::run("negotiated", SCENARIOS);
}

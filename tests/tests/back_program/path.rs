//! What a server is told of the path to a client, as its socket shows it, and what it tells when it lets the connection go.

use std::{
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use dispatcher_common::{
    counter::BackCounter as Counter,
    path_state::PathState,
    ticket::{KIND_MOVE, Ticket},
};

use crate::{
    connection::{
        NEXT_ACK, NEXT_SEQ, accept_request, followed_hand_off, further, listen, release, respond, segment,
    },
    lab::Lab,
    scenario::{self, Scenario},
    tcp_info::tcp_info,
};

const ACCEPTED: &[Counter] = &[Counter::HandoffAccepted];
const MOVED: &[Counter] =
    &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveBegun, Counter::MoveReleased];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a socket goes on with window and round-trip time", counters: ACCEPTED, play: goes_on },
    Scenario { name: "of an unknown path it begins as ever", counters: ACCEPTED, play: unknown },
    Scenario { name: "another connection gets none of it", counters: ACCEPTED, play: another },
    Scenario { name: "without timestamps only the window is told", counters: MOVED, play: no_timestamps },
    Scenario { name: "a socket that was just used tells its window", counters: MOVED, play: told },
    Scenario { name: "an idle one no more than where all begin", counters: MOVED, play: idle },
    Scenario { name: "but less, if it had less", counters: MOVED, play: idle_and_slow },
];

/// Of `struct tcp_info`.
#[derive(Debug)]
struct Learnt {
    window: u32,
    round_trip: Duration,
}

impl Learnt {
    fn read(stream: &TcpStream) -> Self {
        let info = tcp_info(stream);
        Self { window: info.tcpi_snd_cwnd, round_trip: Duration::from_micros(info.tcpi_rtt.into()) }
    }
}

/// A connection of which the hand-off told this.
fn connect(lab: &mut Lab, listener: &TcpListener, path: PathState) -> TcpStream {
    let hand_off = followed_hand_off(lab);
    let ticket = Ticket { path, ..hand_off.ticket.unwrap() };
    lab.send(&hand_off.ticket(ticket));
    lab.expect(Counter::HandoffAccepted);
    let stream = accept_request(lab, listener, lab.client.port());
    stream.set_nodelay(true).unwrap();
    stream
}

fn goes_on(lab: &mut Lab) {
    let listener = listen(lab);
    let stream = connect(lab, &listener, PathState::new(40, 128_000));
    let learnt = Learnt::read(&stream);
    assert_eq!(learnt.window, 40);
    // What is more than told is the time between the program and TCP.
    let told = Duration::from_millis(128);
    assert!(learnt.round_trip >= told && learnt.round_trip < 2 * told, "{learnt:?}");
}

fn unknown(lab: &mut Lab) {
    let listener = listen(lab);
    let stream = connect(lab, &listener, PathState::UNKNOWN);
    let learnt = Learnt::read(&stream);
    assert_eq!(learnt.window, 10);
    assert!(learnt.round_trip < Duration::from_millis(128), "{learnt:?}");
}

/// The kernel's own connection, and the same memory: only the numbers differ.
fn another(lab: &mut Lab) {
    let listener = listen(lab);
    let stream = connect(lab, &listener, PathState::new(40, 128_000));
    assert_eq!(Learnt::read(&stream).window, 40);
    let (client, vip) = (lab.client, lab.vip);
    let local = TcpListener::bind((vip.ip(), 0)).unwrap();
    let own = TcpStream::connect(local.local_addr().unwrap()).unwrap();
    let (accepted, _) = local.accept().unwrap();
    assert_ne!(own.local_addr().unwrap(), client);
    assert_eq!(Learnt::read(&accepted).window, 10);
}

/// Answers, is told that the client has the response, waits, and lets go; gives what is told.
fn release_after(lab: &mut Lab, path: PathState, wait: Duration) -> PathState {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener, path);
    respond(lab, &mut stream);
    lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK));
    thread::sleep(wait);
    let request = further(lab, KIND_MOVE);
    release(lab, &request);
    lab.flow().unwrap().path
}

fn told(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener, PathState::new(40, 128_000));
    respond(lab, &mut stream);
    let learnt = Learnt::read(&stream);
    let request = further(lab, KIND_MOVE);
    release(lab, &request);
    let expected = PathState::new(learnt.window, learnt.round_trip.as_micros() as u32);
    assert_eq!(lab.flow().unwrap().path, expected);
    assert_eq!((expected.window(), expected.round_trip_ms()), (Some(40), 128));
}

fn no_timestamps(lab: &mut Lab) {
    let listener = listen(lab);
    let hand_off = followed_hand_off(lab).options(&[]);
    let ticket = Ticket { path: PathState::new(40, 128_000), timestamps: false, ..hand_off.ticket.unwrap() };
    lab.send(&hand_off.ticket(ticket));
    lab.expect(Counter::HandoffAccepted);
    let mut stream = accept_request(lab, &listener, lab.client.port());
    respond(lab, &mut stream);
    let further = further(lab, KIND_MOVE).options(&[]);
    let ticket = Ticket { timestamps: false, ..further.ticket.unwrap() };
    release(lab, &further.ticket(ticket));
    assert_eq!(lab.flow().unwrap().path, PathState::new(40, 0));
}

/// Longer than the retransmission time-out, which is a good 200 ms on a path as short as this.
const IDLE: Duration = Duration::from_millis(600);

fn idle(lab: &mut Lab) {
    assert_eq!(release_after(lab, PathState::new(40, 0), IDLE).window(), Some(10));
}

fn idle_and_slow(lab: &mut Lab) {
    assert_eq!(release_after(lab, PathState::new(5, 0), IDLE).window(), Some(5));
}

#[test]
fn a_path_is_known_to_the_next_server() {
    scenario::run("path", SCENARIOS);
}

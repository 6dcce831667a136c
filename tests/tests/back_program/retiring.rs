//! While the socket of a connection is being retired: what comes meanwhile waits, what spoils the release, and what happens when
//! the kernel does not play along. The phase lasts microseconds, so most scenarios set it by hand.

use std::{
    net::{Shutdown, TcpStream},
    time::Duration,
};

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::phase,
    ticket::{KIND_BOOKS, KIND_MOVE},
};
use socket2::SockRef;

use crate::{
    connection::{
        NEXT_ACK, NEXT_SEQ, REQUEST, RESPONSE, assert_released, connect_followed, further, listen, receive,
        release, respond, segment,
    },
    frame::{ACK, FIN, RST},
    lab::Lab,
    scenario::{self, Scenario},
};

const ANSWERED: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted];

/// A segment that was queued again so often is not queued any more.
const MOST_TIMES: u32 = 8;

const RELEASED: &[Counter] =
    &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveBegun, Counter::MoveReleased];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the request again begins again", counters: RELEASED, play: again },
    Scenario { name: "also if it is to stay now", counters: RELEASED, play: again_to_stay },
    Scenario {
        name: "data waits, and is dropped at last",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveHeld,
            Counter::MoveHeldDropped,
        ],
        play: data,
    },
    Scenario {
        name: "data that waits goes after the request that was released",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::ResetWithheld,
            Counter::MoveReleased,
            Counter::MoveHeld,
            Counter::MoveHeldDropped,
            Counter::Returned,
        ],
        play: data_behind,
    },
    Scenario {
        name: "the client hears of no reset once the connection is elsewhere",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::ResetWithheld],
        play: reset_late,
    },
    Scenario {
        name: "acknowledgements pass",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::SegmentPassed],
        play: acknowledgement,
    },
    Scenario {
        name: "a socket that stays is not waited for for ever",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveHeld,
            Counter::RetireStuck,
        ],
        play: stuck,
    },
    Scenario {
        name: "a socket that has gone on keeps the request",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveKept],
        play: refused,
    },
    Scenario {
        name: "a socket that has gone on takes more data",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::RequestRepeated,
            Counter::RequestBooked,
        ],
        play: called_off,
    },
    Scenario {
        name: "a server that sends more spoils the release",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveSpoilt],
        play: sends,
    },
    Scenario {
        name: "a server that closes spoils the release",
        counters: &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::MoveSpoilt],
        play: closes,
    },
    Scenario { name: "a server that only repeats spoils nothing", counters: ANSWERED, play: repeats },
    Scenario {
        name: "a client that resets ends the connection",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::RstPassed,
            Counter::MoveSpoilt,
        ],
        play: reset,
    },
];

/// A connection that is to be released for the second request, its socket as it was.
fn retiring(lab: &mut Lab) -> TcpStream {
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    lab.answer(|answer| answer.payload == RESPONSE);
    lab.change_flow(|flow| (flow.phase, flow.release_seq) = (phase::RETIRING, NEXT_SEQ));
    stream
}

fn again(lab: &mut Lab) {
    let _stream = retiring(lab);
    let request = further(lab, KIND_MOVE);
    release(lab, &request);
}

/// Of a front-end that has forgotten what it sent before.
fn again_to_stay(lab: &mut Lab) {
    let _stream = retiring(lab);
    let request = further(lab, KIND_BOOKS);
    release(lab, &request);
}

/// Of any kind: without a ticket, with one, or the end of the client's data.
fn data(lab: &mut Lab) {
    let _stream = retiring(lab);
    let behind = NEXT_SEQ + REQUEST.len() as u32;
    for segment in [
        segment(lab).at(behind, NEXT_ACK).payload(b"x"),
        segment(lab).at(behind, NEXT_ACK).flags(FIN | ACK),
        further(lab, KIND_BOOKS).at(behind, NEXT_ACK),
        further(lab, KIND_MOVE).at(behind, NEXT_ACK),
    ] {
        lab.send(&segment);
        lab.expect(Counter::MoveHeldDropped);
        lab.expect_times(Counter::MoveHeld, u64::from(MOST_TIMES));
    }
    assert_eq!(lab.flow().unwrap().phase, phase::RETIRING);
}

/// The socket is gone, the request that tells so is still to come.
fn data_behind(lab: &mut Lab) {
    let stream = retiring(lab);
    abort(lab, stream);
    let data = segment(lab).at(NEXT_SEQ + REQUEST.len() as u32, NEXT_ACK).payload(b"x");
    lab.send(&data);
    lab.expect(Counter::MoveHeldDropped);
    lab.expect_times(Counter::MoveHeld, u64::from(MOST_TIMES));
    let request = further(lab, KIND_MOVE);
    lab.send(&request);
    lab.expect(Counter::MoveReleased);
    assert_released(lab, &request);
    lab.send_again(&data, 1);
    lab.expect(Counter::Returned);
    lab.assert_sent_back(&data.hop_limit(63));
}

/// What the kernel says of a socket that is gone, to an acknowledgement that had come in time.
fn reset_late(lab: &mut Lab) {
    let stream = retiring(lab);
    lab.change_flow(|flow| flow.phase = phase::RELEASED);
    abort(lab, stream);
    assert_eq!(lab.flow().unwrap().phase, phase::RELEASED);
}

/// Ends a socket with a reset, which does not come out.
fn abort(lab: &mut Lab, stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    lab.expect(Counter::ResetWithheld);
    lab.assert_no_answer(|answer| answer.flags & RST != 0);
}

fn acknowledgement(lab: &mut Lab) {
    let _stream = retiring(lab);
    lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK));
    lab.expect_some(Counter::SegmentPassed);
    assert_eq!(lab.flow().unwrap().phase, phase::RETIRING);
}

fn stuck(lab: &mut Lab) {
    let _stream = retiring(lab);
    lab.send_again(&further(lab, KIND_MOVE), MOST_TIMES - 2);
    lab.expect(Counter::RetireStuck);
    lab.expect_times(Counter::MoveHeld, 2);
}

fn refused(lab: &mut Lab) {
    let mut stream = retiring(lab);
    lab.change_flow(|flow| flow.release_seq = NEXT_SEQ - 1);
    let late = [b"\n", REQUEST].concat();
    lab.send(&further(lab, KIND_MOVE).at(NEXT_SEQ - 1, NEXT_ACK).payload(&late));
    lab.expect(Counter::MoveKept);
    receive(&mut stream, REQUEST);
    assert_eq!(lab.flow().unwrap().phase, phase::WAITING);
}

/// The client has its acknowledgement of the request, and will not repeat it.
fn called_off(lab: &mut Lab) {
    let mut stream = retiring(lab);
    lab.change_flow(|flow| flow.release_seq = NEXT_SEQ - 1);
    lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(b"body"));
    lab.expect(Counter::RequestRepeated);
    receive(&mut stream, b"body");
    respond(lab, &mut stream);
    assert_eq!(lab.flow().unwrap().phase, phase::ANSWERED);
    let behind = NEXT_SEQ + 4;
    lab.change_flow(|flow| (flow.phase, flow.release_seq) = (phase::RETIRING, NEXT_SEQ));
    lab.send(&further(lab, KIND_BOOKS).at(behind, NEXT_ACK));
    lab.expect(Counter::RequestBooked);
    receive(&mut stream, REQUEST);
}

fn sends(lab: &mut Lab) {
    let mut stream = retiring(lab);
    respond(lab, &mut stream);
    assert_spoilt(lab);
    receive(&mut stream, REQUEST);
}

fn closes(lab: &mut Lab) {
    let stream = retiring(lab);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_spoilt(lab);
}

/// The request that was queued behind the RST comes when all is over, or the client repeats it.
fn assert_spoilt(lab: &mut Lab) {
    assert_eq!(lab.flow().unwrap().phase, phase::CLOSED);
    lab.send_again(&further(lab, KIND_MOVE), 1);
    lab.expect(Counter::MoveSpoilt);
    lab.send(&further(lab, KIND_MOVE));
    lab.expect(Counter::MoveSpoilt);
}

fn repeats(lab: &mut Lab) {
    let _stream = retiring(lab);
    // The client has not acknowledged the response.
    lab.answer(|answer| answer.payload == RESPONSE);
    assert_eq!(lab.flow().unwrap().phase, phase::RETIRING);
}

fn reset(lab: &mut Lab) {
    let _stream = retiring(lab);
    lab.send(&segment(lab).flags(RST).at(NEXT_SEQ, 0));
    lab.expect(Counter::RstPassed);
    assert_eq!(lab.flow().unwrap().phase, phase::CLOSED);
    lab.send(&further(lab, KIND_MOVE));
    lab.expect(Counter::MoveSpoilt);
    lab.answer(|answer| answer.flags & RST != 0 && answer.seq == NEXT_ACK);
}

#[test]
fn a_connection_is_released_or_not_at_all() {
    scenario::run("retiring", SCENARIOS);
}

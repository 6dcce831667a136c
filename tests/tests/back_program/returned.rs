//! What comes for a connection that was released: all of it goes back to where it came from, so that the server that has the
//! connection may get it.

use dispatcher_common::{
    counter::BackCounter as Counter,
    ticket::{KIND_BOOKS, KIND_MOVE},
};

use crate::{
    connection::{
        NEXT_ACK, NEXT_SEQ, REQUEST, assert_released, connect_and_release, further, listen, segment,
    },
    frame::{ACK, FIN, RST, Segment},
    lab::Lab,
    scenario::{self, Scenario},
};

const RETURNED: &[Counter] = &[
    Counter::HandoffAccepted,
    Counter::ResponseStarted,
    Counter::MoveBegun,
    Counter::MoveReleased,
    Counter::Returned,
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "segments of every kind go back", counters: RETURNED, play: every_kind },
    Scenario { name: "each way costs a hop", counters: RETURNED, play: hops },
    Scenario {
        name: "at last it is enough",
        counters: &[
            Counter::HandoffAccepted,
            Counter::ResponseStarted,
            Counter::MoveBegun,
            Counter::MoveReleased,
            Counter::ReturnedTooOften,
        ],
        play: too_often,
    },
    Scenario { name: "without a listener, too", counters: RETURNED, play: no_listener },
];

fn every_kind(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    let behind = NEXT_SEQ + REQUEST.len() as u32;
    for segment in [
        segment(lab).at(behind, NEXT_ACK),
        segment(lab).at(behind, NEXT_ACK).payload(b"odd"),
        segment(lab).at(behind, NEXT_ACK).payload(b"even").options(&[]),
        segment(lab).at(behind, NEXT_ACK).flags(FIN | ACK),
        segment(lab).at(behind, 0).flags(RST),
        further(lab, KIND_BOOKS).at(NEXT_SEQ, NEXT_ACK - 1),
        further(lab, KIND_BOOKS).at(behind, NEXT_ACK),
        further(lab, KIND_MOVE).at(behind, NEXT_ACK),
        further(lab, KIND_MOVE).at(NEXT_SEQ, NEXT_ACK - 1),
        further(lab, KIND_MOVE).at(NEXT_SEQ + 1, NEXT_ACK),
    ] {
        assert_returned(lab, segment);
    }
}

/// What comes with a ticket goes back with it, unchanged.
fn assert_returned(lab: &mut Lab, segment: Segment) {
    lab.send(&segment);
    lab.expect(Counter::Returned);
    let hop_limit = segment.hop_limit - 1;
    lab.assert_sent_back(&segment.hop_limit(hop_limit));
}

fn hops(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    for hop_limit in [255, 128, 2] {
        assert_returned(lab, segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(b"x").hop_limit(hop_limit));
    }
}

fn too_often(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    for hop_limit in [1, 0] {
        lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(b"x").hop_limit(hop_limit));
        lab.expect(Counter::ReturnedTooOften);
    }
    lab.assert_no_answer(|_| true);
}

fn no_listener(lab: &mut Lab) {
    let listener = listen(lab);
    connect_and_release(lab, &listener);
    drop(listener);
    assert_returned(lab, segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(b"x"));
    assert_returned(lab, further(lab, KIND_BOOKS).at(NEXT_SEQ + 1, NEXT_ACK));
    let request = further(lab, KIND_MOVE);
    lab.send(&request);
    lab.expect(Counter::MoveReleased);
    assert_released(lab, &request);
}

#[test]
fn what_comes_for_a_released_connection_goes_back() {
    scenario::run("returned", SCENARIOS);
}

//! Requests and responses of connections, as the reports will say them: by class, held now, answered, given up.

use std::io::Write;

use dispatcher_common::{
    counter::BackCounter as Counter,
    server::{ClassStats, phase},
};

use crate::{
    connection::{
        CLASS, NEXT_SEQ, REQUEST, RESPONSE, accept, accept_request, connect, finish, hand_off, listen,
        receive, respond, segment,
    },
    frame::{self, FIN, RST},
    lab::Lab,
    scenario::{self, Scenario},
};

const ANSWERED: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted];
const KEPT: &[Counter] = &[Counter::HandoffAccepted, Counter::ResponseStarted, Counter::RequestRepeated];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a response is counted where it begins", counters: ANSWERED, play: response },
    Scenario { name: "further requests on a kept connection are counted", counters: KEPT, play: kept },
    Scenario { name: "data that the socket has had is no request", counters: KEPT, play: old_data },
    Scenario { name: "an idle connection closes without a trace", counters: ANSWERED, play: idle },
    Scenario {
        name: "a server that resets gives up its request",
        counters: &[Counter::HandoffAccepted],
        play: server_resets,
    },
    Scenario { name: "each class counts its own, the server all", counters: ANSWERED, play: classes },
];

fn stats(lab: &Lab) -> (u64, u64, u64, u64) {
    let stats = lab.class(CLASS);
    (stats.arrived, stats.answered, stats.abandoned, lab.held())
}

fn response(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    assert_eq!(stats(lab), (1, 0, 0, 1));
    respond(lab, &mut stream);
    stream.write_all(b"more of it").unwrap();
    lab.answer(|answer| answer.payload == b"more of it");
    assert_eq!(stats(lab), (1, 1, 0, 0));
    let service_ns = lab.class(CLASS).service_ns;
    assert!(service_ns > 0 && service_ns < 2_000_000_000, "{service_ns}");
    let flow = lab.flow().unwrap();
    assert_eq!((flow.phase, flow.responded), (phase::ANSWERED, 1));
}

/// The client's next request, the first being number 0; the answers are as long as the first.
fn later(lab: &Lab, number: u32) -> frame::Segment {
    let (requests_len, responses_len) = (REQUEST.len() as u32 * number, RESPONSE.len() as u32 * number);
    segment(lab).at(frame::SEQ + requests_len, frame::ACKNOWLEDGED + responses_len).payload(REQUEST)
}

fn kept(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    for number in 1..=2 {
        lab.send(&later(lab, number));
        lab.expect(Counter::RequestRepeated);
        receive(&mut stream, REQUEST);
        assert_eq!(stats(lab), (u64::from(number) + 1, u64::from(number), 0, 1));
        respond(lab, &mut stream);
    }
    assert_eq!(stats(lab), (3, 3, 0, 0));
}

fn old_data(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    lab.send(&later(lab, 1));
    lab.expect(Counter::RequestRepeated);
    receive(&mut stream, REQUEST);
    respond(lab, &mut stream);
    let probe = segment(lab).at(later(lab, 2).seq - 1, later(lab, 2).ack).payload(b"\n");
    for old in [later(lab, 1), probe] {
        lab.send(&old);
        lab.answer(|answer| answer.payload.is_empty() && answer.ack == later(lab, 2).seq);
    }
    assert_eq!(stats(lab), (2, 2, 0, 0));
}

fn idle(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    respond(lab, &mut stream);
    finish(lab);
    lab.answer(|answer| answer.ack == NEXT_SEQ + 1);
    drop(stream);
    lab.answer(|answer| answer.flags & FIN != 0);
    assert_eq!(stats(lab), (1, 1, 0, 0));
    assert_eq!(lab.flow().unwrap().phase, phase::CLOSED);
}

/// Data that it never read makes the kernel send a RST.
fn server_resets(lab: &mut Lab) {
    let listener = listen(lab);
    lab.send(&hand_off(lab));
    lab.expect(Counter::HandoffAccepted);
    drop(accept(lab, &listener, lab.client.port()));
    lab.answer(|answer| answer.flags & RST != 0);
    assert_eq!(stats(lab), (1, 0, 1, 0));
    assert_eq!(lab.flow().unwrap().phase, phase::CLOSED);
}

fn classes(lab: &mut Lab) {
    let listener = listen(lab);
    let mut stream = connect(lab, &listener);
    let other = hand_off(lab).port(lab.client.port() + 1).ticket(frame::ticket(CLASS + 1));
    lab.send(&other);
    lab.expect(Counter::HandoffAccepted);
    let _other = accept_request(lab, &listener, other.from.port());
    assert_eq!((stats(lab), lab.class(CLASS + 1).arrived), ((1, 0, 0, 2), 1));
    respond(lab, &mut stream);
    assert_eq!(stats(lab), (1, 1, 0, 1));
    assert_eq!(lab.class(CLASS + 1), ClassStats { arrived: 1, ..ClassStats::default() });
}

#[test]
fn requests_and_responses_are_counted_once() {
    scenario::run("measured", SCENARIOS);
}

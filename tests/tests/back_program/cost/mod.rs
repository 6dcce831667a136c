//! What packets cost a server's programs, of connections whose responses are followed beside others: a section of the report.
//! Nothing of it is asserted but that the packets were what they were meant to be: `cargo xtask bench` shows it on a machine that
//! does nothing else.

mod restore;

use std::{fs, path::PathBuf};

use aya::programs::ProgramFd;
use dispatcher_common::{
    counter::BackCounter as Counter,
    server::{ServerFlow, framing, phase},
    ticket::KIND_BOOKS,
};
use tests::report::{Column, Section, Spread, Table};

use self::restore::Restore;
use crate::{
    connection::{NEXT_ACK, NEXT_SEQ, REQUEST, connect_followed, further, listen, respond, segment},
    frame::Segment,
    lab::Lab,
    scenario,
};

const BENCH: &str = "cost_at_a_server";

/// What nginx answers to a request for a file of two bytes.
const NGINX: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 19:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 2\r\nLast-Modified: Thu, 26 Nov 2026 18:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6a6e4f20-2\"\r\nAccept-Ranges: bytes\r\n\r\nok";

/// The same by software that says more, in chunks.
const WORDY: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 19:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\n\
    Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nVary: Accept-Encoding, Cookie\r\n\
    Cache-Control: private, max-age=0, must-revalidate\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n\
    Content-Security-Policy: default-src 'self'; img-src 'self' data: https://images.example.org; frame-ancestors 'none'\r\n\
    Set-Cookie: session=6f1d2c3b4a5968778695a4b3c2d1e0ff; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\
    X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nX-Request-Id: 0d9c2f6e-5a1b-4c3d-8e7f-102938475665\r\n\r\n\
    2\r\nok\r\n0\r\n\r\n";

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    repeat: u32,
}

/// A kind of packet, and what the flow's entry is before it.
struct Kind {
    name: &'static str,
    program: &'static str,
    /// What each of them is counted as.
    counter: Counter,
    packet: fn(&Lab) -> Segment,
    flow: fn(&ServerFlow) -> ServerFlow,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "further request with a *books* ticket",
        program: "back",
        counter: Counter::RequestBooked,
        packet: |lab| further(lab, KIND_BOOKS),
        flow: |idle| *idle,
    },
    Kind {
        name: "further request, not followed",
        program: "back",
        counter: Counter::RequestRepeated,
        packet: |lab| segment(lab).at(NEXT_SEQ, NEXT_ACK).payload(REQUEST),
        flow: ignored,
    },
    Kind {
        name: "acknowledgement",
        program: "back",
        counter: Counter::SegmentPassed,
        packet: |lab| segment(lab).at(NEXT_SEQ, NEXT_ACK),
        flow: |idle| *idle,
    },
    Kind {
        name: "response of nginx, a head of 235 bytes",
        program: "back_out",
        counter: Counter::ResponseStarted,
        packet: |lab| answer(lab, NGINX),
        flow: asked,
    },
    Kind {
        name: "response with a head of 622 bytes, in chunks",
        program: "back_out",
        counter: Counter::ResponseStarted,
        packet: |lab| answer(lab, WORDY),
        flow: asked,
    },
    Kind {
        name: "response, not followed",
        program: "back_out",
        counter: Counter::ResponseStarted,
        packet: |lab| answer(lab, NGINX),
        flow: |idle| ServerFlow { phase: phase::WAITING, ..ignored(idle) },
    },
    Kind {
        name: "part of a body, followed",
        program: "back_out",
        counter: Counter::SegmentPassed,
        packet: |lab| answer(lab, NGINX),
        flow: |idle| ServerFlow { next_at: NEXT_ACK + 10_000, ..*idle },
    },
    Kind {
        name: "part of a body, not followed",
        program: "back_out",
        counter: Counter::SegmentPassed,
        packet: |lab| answer(lab, NGINX),
        flow: ignored,
    },
];

/// A flow whose request was answered, as if nobody followed it.
fn ignored(idle: &ServerFlow) -> ServerFlow {
    ServerFlow { framing: framing::OFF, ..*idle }
}

/// A flow whose second request has arrived.
fn asked(idle: &ServerFlow) -> ServerFlow {
    ServerFlow { phase: phase::WAITING, arrived: idle.arrived.wrapping_add(1), ..*idle }
}

/// What the server sends on an idle connection.
fn answer(lab: &Lab, text: &str) -> Segment {
    Segment::new(lab.vip, lab.client).at(NEXT_ACK, NEXT_SEQ).payload(text.as_bytes())
}

/// Leaves its section only with DISPATCHER_BENCH set, as `cargo xtask bench` does.
#[test]
fn cost_of_a_segment_at_a_server() {
    if !tests::skipped("cost_of_a_segment_at_a_server") {
        scenario::in_a_lab(scenario::ENDS[0], play);
    }
}

fn play(lab: &mut Lab) {
    let is_bench = std::env::var_os("DISPATCHER_BENCH").is_some();
    let effort =
        if is_bench { Effort { rounds: 31, repeat: 100_000 } } else { Effort { rounds: 1, repeat: 1_000 } };
    let listener = listen(lab);
    let mut stream = connect_followed(lab, &listener);
    respond(lab, &mut stream);
    // Or it would be sent again meanwhile.
    lab.send(&segment(lab).at(NEXT_SEQ, NEXT_ACK));
    let idle = lab.flow().unwrap();
    if let Some(costs) = measure(lab, &idle, effort)
        && is_bench
    {
        section(&costs).publish().unwrap();
    }
}

/// What each kind costs, in turn.
fn measure(lab: &Lab, idle: &ServerFlow, effort: Effort) -> Option<Vec<Spread>> {
    let pin = Pin::of(lab);
    let mut restore = Restore::load(&pin.0)?;
    let programs: Vec<ProgramFd> = KINDS.iter().map(|kind| lab.program(kind.program)).collect();
    let mut costs = vec![Vec::new(); KINDS.len()];
    for _ in 0..effort.rounds {
        for ((kind, program), costs) in KINDS.iter().zip(&programs).zip(&mut costs) {
            restore.save(lab.flow_key(), (kind.flow)(idle));
            let before = lab.total(kind.counter);
            costs.push(restore.net_ns(program, &(kind.packet)(lab).frame(), effort.repeat));
            assert_eq!(lab.total(kind.counter) - before, u64::from(effort.repeat), "{}", kind.name);
        }
    }
    Some(costs.iter().map(|costs| Spread::quartiles(costs)).collect())
}

fn section(costs: &[Spread]) -> Section {
    let mut section = Section::new(BENCH, "Nanoseconds per packet at a server");
    section.text(
        "A server's two TC programs by `BPF_PROG_TEST_RUN`: many packets in a row by one system call, a program before the measured one restoring the \
         flow's entry, net of the same before an empty program. IPv4, one flow, caches warm. Medians, in brackets the quartiles.",
    );
    let columns = [Column::text("packet"), Column::text("program"), Column::number("in a row", "ns", 0)];
    let mut table = Table::new("packets", columns);
    for (kind, cost) in KINDS.iter().zip(costs) {
        table.row([kind.name.into(), kind.program.into(), (*cost).into()]);
    }
    section.table(table);
    section
}

/// Where a lab's map of flows is pinned.
struct Pin(PathBuf);

impl Pin {
    fn of(lab: &Lab) -> Self {
        let pin = Self(PathBuf::from(format!("/sys/fs/bpf/back-program-flows-{}", std::process::id())));
        lab.pin_flows(&pin.0);
        pin
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // Of a test that has failed, too.
        let _ = fs::remove_file(&self.0);
    }
}

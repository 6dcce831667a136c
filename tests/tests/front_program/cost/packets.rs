//! What each kind of packet costs, with few and many filters in the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    address::Address,
    cookie,
    counter::FrontCounter,
    filter::{Filter, FlowKey, flag},
    tuple::Tuple,
};
use tests::report::{Cell, Column, Section, Spread, Table};

use super::{
    bare::{Bare, Before},
    flows::Flows,
};
use crate::{
    program::{COOKIE_KEY, EPOCH, Program, service_id},
    segment::{ACK, CLIENT_PORT, Family, SYN, Segment},
    table::{ISN, established, options},
};

/// Filters in the table, half of each family but for one of each.
const FILTERS: [u32; 3] = [2, 10_000, 1_000_000];
/// Packets by a system call each, of as many clients where there are many filters.
const PACKETS: usize = 3_001;
/// Packets in a row by one system call, and how often.
const IN_A_ROW: u32 = 200_000;
const ROUNDS: usize = 15;

/// Most nanoseconds, net.
const MOST_KNOWN: f64 = 80.0;
const MOST_SYN: f64 = 200.0;

const KNOWN: &str = "known flow";
const ANSWERED_SYN: &str = "SYN to SYN-ACK";

/// A kind of packet.
struct Kind {
    name: &'static str,
    /// What all of them must be counted as.
    counter: FrontCounter,
    /// Of clients whose filters are in the table.
    known: bool,
    packet: fn(Family, IpAddr) -> Segment,
}

const KINDS: [Kind; 6] = [
    Kind { name: KNOWN, counter: FrontCounter::Forwarded, known: true, packet: known },
    Kind { name: ANSWERED_SYN, counter: FrontCounter::SynAnswered, known: false, packet: syn },
    Kind {
        name: "ACK that ends a handshake",
        counter: FrontCounter::HandshakeCompleted,
        known: false,
        packet: handshake_end,
    },
    Kind {
        name: "first request, up to the redirect to the slow path",
        counter: FrontCounter::RequestFirst,
        known: false,
        packet: first_request,
    },
    Kind {
        name: "RST for an unknown flow",
        counter: FrontCounter::UnknownReset,
        known: false,
        packet: unknown,
    },
    Kind {
        name: "packet that is not for a service",
        counter: FrontCounter::OtherPassed,
        known: false,
        packet: foreign,
    },
];

/// Adds a table. False if it could not be measured.
pub(crate) fn report(section: &mut Section) -> bool {
    section.text(
        "**Kinds of packets**, net of an empty program. *Alone*: one packet by a system call, which restores it and leaves the caches \
         to other work; with many filters every packet is of another client. *In a row*: many by one system call, restored by a \
         program before that calls the measured one, net of the same before the empty program. First requests are measured up to the \
         redirect to their AF_XDP socket; each leaves a pending filter.",
    );
    let mut columns = vec![Column::text("packet"), Column::text("family")];
    columns.extend(
        ["alone, one filter", "10 000 filters", "1 000 000 filters"]
            .map(|name| Column::number(name, "ns", 0)),
    );
    columns.push(Column::number("in a row", "ns", 0));
    let mut table = Table::new("packets", columns);
    let mut rows: Vec<Vec<Cell>> = KINDS
        .iter()
        .flat_map(|kind| {
            Family::BOTH.map(|family| vec![kind.name.into(), format!("{family:?}").as_str().into()])
        })
        .collect();
    let mut most = [0.0_f64; KINDS.len()];
    for (column, filters) in FILTERS.into_iter().enumerate() {
        let Some(mut program) = Program::with_room(filters + filters / 20 + 4 * PACKETS as u32) else {
            return false;
        };
        insert(&mut program, filters / 2);
        for (row, (kind, family)) in cases().enumerate() {
            let cost = alone(&mut program, kind, family, filters / 2);
            if column == 0 {
                most[row / 2] = most[row / 2].max(cost.median);
            }
            rows[row].push(cost.into());
        }
    }
    let Some(mut program) = Program::with_room(FILTERS[0]) else { return false };
    insert(&mut program, 1);
    for (row, (kind, family)) in cases().enumerate() {
        rows[row].push(match kind.counter {
            // Its filter makes the second one another packet.
            FrontCounter::RequestFirst => Cell::None,
            _ => match in_a_row(&mut program, kind, family) {
                Some(cost) => cost.into(),
                None => return false,
            },
        });
    }
    rows.into_iter().for_each(|row| table.row(row));
    section.table(table);
    for (kind, most_ns) in [(KNOWN, MOST_KNOWN), (ANSWERED_SYN, MOST_SYN)] {
        let at = KINDS.iter().position(|one| one.name == kind).unwrap();
        let what = format!("{kind}, alone, either family: at most {most_ns} ns");
        section.goal(&what, format!("{:.0} ns", most[at]), most[at] <= most_ns);
    }
    true
}

fn cases() -> impl Iterator<Item = (&'static Kind, Family)> {
    KINDS.iter().flat_map(|kind| Family::BOTH.map(|family| (kind, family)))
}

/// One packet by a system call, each of the next client; the empty program in turn.
fn alone(program: &mut Program, kind: &Kind, family: Family, filters: u32) -> Spread {
    let many = filters > 1 || kind.counter == FrontCounter::RequestFirst;
    let clients: Vec<IpAddr> = (0..if many { PACKETS } else { 1 })
        .map(|number| {
            client(
                family,
                if kind.known { scattered(number, filters) } else { FIRST_UNKNOWN + number as u32 },
            )
        })
        .collect();
    let frames: Vec<Vec<u8>> = clients.iter().map(|client| (kind.packet)(family, *client).frame()).collect();
    let before = program.counters();
    let [floor, cost] = ["pass", "front"].map(|name| {
        let fd = program.fd(name).try_clone().unwrap();
        (0..PACKETS).map(|run| super::once_ns(&fd, &frames[run % frames.len()])).collect::<Vec<f64>>()
    });
    super::assert_counted(program, &before, kind.counter, PACKETS as u64);
    if kind.counter == FrontCounter::RequestFirst {
        let table = program.filter_table();
        clients.iter().for_each(|client| assert!(table.delete(&key(family, *client)).unwrap()));
    }
    let floor = Spread::quartiles(&floor).median;
    Spread::quartiles(&cost.iter().map(|cost| cost - floor).collect::<Vec<_>>())
}

/// Many packets by one system call; the empty program in turn.
fn in_a_row(program: &mut Program, kind: &Kind, family: Family) -> Option<Spread> {
    let number = if kind.known { 0 } else { FIRST_UNKNOWN };
    let frame = (kind.packet)(family, client(family, number)).frame();
    let before = match family {
        Family::Ipv4 => Before::RestoreIpv4,
        Family::Ipv6 => Before::RestoreIpv6,
    };
    let mut bare = Bare::load(before, &frame, &Flows::new([0; 4], 0))?;
    let [pass, front] = ["pass", "front"].map(|name| program.fd(name).try_clone().unwrap());
    let counted = program.counters();
    let costs: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let [floor, cost] = [&pass, &front].map(|fd| bare.measure(fd).mean_ns(IN_A_ROW));
            cost - floor
        })
        .collect();
    super::assert_counted(program, &counted, kind.counter, ROUNDS as u64 * u64::from(IN_A_ROW));
    Some(Spread::quartiles(&costs))
}

/// Writes the filters of the first clients of each family.
fn insert(program: &mut Program, each: u32) {
    let table = program.filter_table();
    for family in Family::BOTH {
        let value = Filter { response_ns: 1, flags: flag::RESPONDED, ..established(family) };
        for chunk in (0..each).collect::<Vec<_>>().chunks(8_192) {
            let keys: Vec<FlowKey> =
                chunk.iter().map(|number| key(family, client(family, *number))).collect();
            assert_eq!(table.update_batch(&keys, &vec![value; keys.len()]), 0);
        }
    }
}

/// Number of the first client without a filter.
const FIRST_UNKNOWN: u32 = 1 << 22;

/// A client of a family.
fn client(family: Family, number: u32) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::from_bits(0x0a00_0000 | number).into(),
        Family::Ipv6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)).into(),
    }
}

/// A number below a limit, far from its neighbours' ones.
fn scattered(number: usize, limit: u32) -> u32 {
    (number as u32).wrapping_mul(0x9e37_79b9) % limit
}

fn key(family: Family, client: IpAddr) -> FlowKey {
    FlowKey::new(client.into(), CLIENT_PORT.to_be(), service_id(family))
}

/// What acknowledges the SYN-ACK of a client.
fn ack_of(family: Family, client: IpAddr) -> u32 {
    let tuple = Tuple { client: Address::from(client), ..family.tuple() };
    cookie::make(&COOKIE_KEY, &tuple, options(), ISN, EPOCH).wrapping_add(1)
}

fn segment(family: Family, source: IpAddr, flags: u8, seq: u32, ack: u32) -> Segment {
    Segment { source, ..Segment::of_client(family, flags, seq, ack) }
}

fn known(family: Family, client: IpAddr) -> Segment {
    segment(family, client, ACK, ISN.wrapping_add(500), 99).with_timestamps()
}

fn syn(family: Family, client: IpAddr) -> Segment {
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 9];
    segment(family, client, SYN, ISN, 0).with_options(&options)
}

fn handshake_end(family: Family, client: IpAddr) -> Segment {
    segment(family, client, ACK, ISN.wrapping_add(1), ack_of(family, client)).with_timestamps()
}

fn first_request(family: Family, client: IpAddr) -> Segment {
    handshake_end(family, client).with_payload(b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
}

/// The cookie is wrong by one.
fn unknown(family: Family, client: IpAddr) -> Segment {
    let segment = handshake_end(family, client);
    Segment { ack: segment.ack ^ 1, ..segment }
}

fn foreign(family: Family, client: IpAddr) -> Segment {
    Segment { destination_port: 81, ..known(family, client) }
}

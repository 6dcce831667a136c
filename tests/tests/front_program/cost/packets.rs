//! What each kind of packet costs, with few and many filters in the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dispatcher_common::{
    address::Address,
    class_cache::CachedClass,
    cookie,
    counter::FrontCounter,
    filter::{self, Filter, FlowKey},
    head_scan,
    service::flag,
    tuple::Tuple,
};
use tests::report::{Cell, Column, Section, Spread, Table};

use super::{
    Effort,
    bare::{Bare, Before},
    flows::Flows,
};
use crate::{
    program::{
        CLASS_CACHE_KEY, COOKIE_KEY, EPOCH, GENERATION, HEAD_LIMIT, OTHER, Program, SERVER, service_id,
    },
    scene::{OWNER, Scene},
    segment::{ACK, CLIENT_PORT, Family, SYN, Segment},
    table::{ISN, established, options},
};

/// Filters in the table, half of each family but for one of each.
const FILTERS: [u32; 3] = [2, 10_000, 1_000_000];
/// Packets by a system call each, in a round; of as many clients as packets where there are many filters.
const ALONE: u32 = 512;
/// Room for what first requests leave.
const MANY: u32 = 16_384;
/// Ports of a client.
const PORTS: u32 = 1 << 16;
/// Packets in a row by one system call.
const IN_A_ROW: u32 = 200_000;

/// Most nanoseconds, net.
const MOST_KNOWN: f64 = 80.0;
const MOST_SYN: f64 = 200.0;
const MOST_QUICK: f64 = 600.0;

const KNOWN: &str = "known flow";
const ANSWERED_SYN: &str = "SYN to SYN-ACK";
const QUICK: &str = "first request by the class cache, target of 60 bytes";

/// Whose packets are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// Their filters are in the table.
    Known,
    /// They have no filters.
    New,
    /// Each has one of its own, whose next request is waited for, and sends that.
    Idle,
}

/// A kind of packet.
struct Kind {
    name: &'static str,
    /// What all of them must be counted as.
    counter: FrontCounter,
    clients: Clients,
    packet: fn(Family, IpAddr) -> Segment,
}

const KINDS: [Kind; 11] = [
    Kind { name: KNOWN, counter: FrontCounter::Forwarded, clients: Clients::Known, packet: known },
    Kind { name: ANSWERED_SYN, counter: FrontCounter::SynAnswered, clients: Clients::New, packet: syn },
    Kind {
        name: "ACK that ends a handshake",
        counter: FrontCounter::HandshakeCompleted,
        clients: Clients::New,
        packet: handshake_end,
    },
    Kind {
        name: "first request, up to the redirect to the slow path",
        counter: FrontCounter::RequestFirst,
        clients: Clients::New,
        packet: first_request,
    },
    Kind { name: QUICK, counter: FrontCounter::RequestQuick, clients: Clients::New, packet: quick },
    Kind {
        name: "first request by the class cache, target of 200 bytes",
        counter: FrontCounter::RequestQuick,
        clients: Clients::New,
        packet: quick_200,
    },
    Kind {
        name: "first request by the class cache, a browser's head of 600 bytes",
        counter: FrontCounter::RequestQuick,
        clients: Clients::New,
        packet: quick_browser,
    },
    Kind {
        name: "further request by the class cache that stays, target of 60 bytes",
        counter: FrontCounter::FurtherStayed,
        clients: Clients::Idle,
        packet: further,
    },
    Kind {
        name: "further request by the class cache that moves, target of 60 bytes",
        counter: FrontCounter::FurtherMoving,
        clients: Clients::Idle,
        packet: further,
    },
    Kind {
        name: "RST for an unknown flow",
        counter: FrontCounter::UnknownReset,
        clients: Clients::New,
        packet: unknown,
    },
    Kind {
        name: "packet that is not for a service",
        counter: FrontCounter::OtherPassed,
        clients: Clients::New,
        packet: foreign,
    },
];

impl Kind {
    /// Whether a second packet of the same client would be another kind.
    fn is_once(&self) -> bool {
        self.clients == Clients::Idle
            || matches!(self.counter, FrontCounter::RequestFirst | FrontCounter::RequestQuick)
    }

    /// Flags of the service; only for requests that it knows is the class cache asked.
    fn flags(&self) -> u8 {
        match self.counter {
            FrontCounter::RequestQuick => flag::QUICK,
            FrontCounter::FurtherStayed | FrontCounter::FurtherMoving => flag::QUICK | flag::PER_REQUEST,
            _ => 0,
        }
    }

    fn prepare(&self, program: &mut Program, family: Family) {
        program.set_scene(family, &Scene { flags: self.flags(), ..Scene::default() });
        program.set_choice(&[if self.counter == FrontCounter::FurtherMoving { OTHER } else { SERVER }]);
        if self.flags() & flag::QUICK != 0 {
            let head = (self.packet)(family, family.client()).payload;
            let key = head_scan::key_of(&CLASS_CACHE_KEY, OWNER, &head, HEAD_LIMIT).unwrap();
            let cached = CachedClass { generation: GENERATION, ..CachedClass::default() };
            program.set_class_cache(Some((key, cached)));
        }
    }

    /// Gives each flow what it needs for its packet.
    fn open(&self, program: &mut Program, family: Family, keys: &[FlowKey]) {
        if self.clients == Clients::Idle {
            insert(program, keys, idle(family));
        }
    }
}

/// Costs of a kind for a family: alone with each number of filters, then in a row.
type Costs = Vec<Option<Spread>>;

/// Adds a table. False if it could not be measured.
pub(crate) fn report(section: &mut Section, effort: Effort) -> bool {
    section.text(
        "**Kinds of packets**, net of an empty program. *Alone*: one packet by a system call, which restores it and leaves the caches \
         to other work (mean of the middle half of 512); with many filters every packet is of another client. *In a row*: many by one system call, restored by a \
         program before that calls the measured one, net of the same before the empty program. First requests to the slow path are measured \
         up to the redirect to their AF_XDP socket; each leaves a pending filter. Those by the class cache are each of another \
         connection and leave an established one. Further requests are each of another connection, too, whose filter is in the table.",
    );
    let Some(costs) = measure(effort) else { return false };
    let mut columns = vec![Column::text("packet"), Column::text("family")];
    let places = ["alone, one filter", "10 000 filters", "1 000 000 filters", "in a row"];
    columns.extend(places.map(|name| Column::number(name, "ns", 0)));
    let mut table = Table::new("packets", columns);
    for ((kind, family), costs) in cases().zip(&costs) {
        let names = [Cell::from(kind.name), Cell::text(format!("{family:?}"))];
        table.row(names.into_iter().chain(costs.iter().map(|cost| Cell::from(*cost))));
    }
    section.table(table);
    section.text(
        "What bounds a first request by the class cache, by a profile (`perf record -e cpu-clock`) of connections in a row: three tenths of its time is the \
         kernel's own insertion of the filter (a lock, a free element that is in no cache, 144 bytes to copy), more than two tenths the scan of the head, an \
         eighth the look-ups in other maps; cookie, ticket, the move of the headers for it and the choice have a twentieth to a tenth each. The same request \
         to the slow path takes more than half as long up to the redirect, and some microseconds behind it.",
    );
    for (name, most_ns) in [(KNOWN, MOST_KNOWN), (ANSWERED_SYN, MOST_SYN), (QUICK, MOST_QUICK)] {
        let worst = |place: usize| {
            let of_kind = cases().zip(&costs).filter(|((kind, _), _)| kind.name == name);
            of_kind.filter_map(|(_, costs)| Some(costs[place]?.median)).fold(0.0, f64::max)
        };
        let (alone, in_a_row) = (worst(0), worst(FILTERS.len()));
        let what = format!("{name}, either family, alone and in a row: at most {most_ns} ns");
        let measured = format!("{alone:.0} and {in_a_row:.0} ns");
        section.goal(&what, measured, alone.max(in_a_row) <= most_ns);
    }
    true
}

/// What all [`cases`] cost.
fn measure(effort: Effort) -> Option<Vec<Costs>> {
    let mut costs = vec![Costs::new(); cases().count()];
    for filters in FILTERS.map(|filters| effort.part(filters).max(2)) {
        let mut program = Program::with_room(filters + filters / 20 + MANY)?;
        insert_known(&mut program, filters / 2);
        for ((kind, family), costs) in cases().zip(&mut costs) {
            costs.push(Some(alone(&mut program, kind, family, filters / 2, effort)));
        }
    }
    let mut program = Program::with_room(PORTS + 2)?;
    insert_known(&mut program, 1);
    for ((kind, family), costs) in cases().zip(&mut costs) {
        costs.push(match kind.counter {
            // Its filter makes the second one another packet.
            FrontCounter::RequestFirst => None,
            _ if kind.is_once() => Some(once_in_a_row(&mut program, kind, family, effort)?),
            _ => Some(in_a_row(&mut program, kind, family, effort)?),
        });
    }
    Some(costs)
}

fn cases() -> impl Iterator<Item = (&'static Kind, Family)> {
    KINDS.iter().flat_map(|kind| Family::BOTH.map(|family| (kind, family)))
}

/// One packet by a system call, each of the next client; the empty program in turn, some packets each.
fn alone(program: &mut Program, kind: &Kind, family: Family, filters: u32, effort: Effort) -> Spread {
    let packets = effort.part(ALONE) * effort.rounds as u32;
    let many = filters > 1 || kind.is_once();
    kind.prepare(program, family);
    let number = |index| match kind.clients {
        Clients::Known => scattered(index, filters),
        Clients::New | Clients::Idle => FIRST_UNKNOWN + index,
    };
    let clients: Vec<IpAddr> =
        (0..if many { packets } else { 1 }).map(|index| client(family, number(index))).collect();
    let keys: Vec<FlowKey> = clients.iter().map(|client| key(family, *client)).collect();
    kind.open(program, family, &keys);
    let frames: Vec<Vec<u8>> = clients.iter().map(|client| (kind.packet)(family, *client).frame()).collect();
    let [pass, front] = ["pass", "front"].map(|name| program.fd(name).try_clone().unwrap());
    let before = program.counters();
    let mut next = frames.iter().cycle();
    let costs: Vec<f64> = (0..effort.rounds)
        .map(|_| {
            let some: Vec<&Vec<u8>> = next.by_ref().take(effort.part(ALONE) as usize).collect();
            let [floor, cost] = [&pass, &front]
                .map(|fd| middle(some.iter().map(|frame| super::once_ns(fd, frame)).collect()));
            cost - floor
        })
        .collect();
    super::assert_counted(program, &before, kind.counter, packets.into());
    if kind.is_once() {
        let table = program.filter_table();
        keys.iter().for_each(|key| assert!(table.delete(key).unwrap()));
    }
    Spread::quartiles(&costs)
}

/// Mean of the middle half: finer than the steps of the clock, without the runs that an interrupt hit.
fn middle(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let quarter = samples.len() / 4;
    let half = &samples[quarter..samples.len() - quarter];
    half.iter().sum::<f64>() / half.len() as f64
}

/// Many packets by one system call; the empty program in turn.
fn in_a_row(program: &mut Program, kind: &Kind, family: Family, effort: Effort) -> Option<Spread> {
    let packets = effort.part(IN_A_ROW);
    let number = if kind.clients == Clients::Known { 0 } else { FIRST_UNKNOWN };
    let frame = (kind.packet)(family, client(family, number)).frame();
    let before = match family {
        Family::Ipv4 => Before::RestoreIpv4,
        Family::Ipv6 => Before::RestoreIpv6,
    };
    let mut bare = Bare::load(before, &frame, &Flows::new([0; 4], 0))?;
    let [pass, front] = ["pass", "front"].map(|name| program.fd(name).try_clone().unwrap());
    let counted = program.counters();
    let costs: Vec<f64> = (0..effort.rounds)
        .map(|_| {
            let [floor, cost] = [&pass, &front].map(|fd| bare.measure(fd).mean_ns(packets));
            cost - floor
        })
        .collect();
    super::assert_counted(program, &counted, kind.counter, effort.rounds as u64 * u64::from(packets));
    Some(Spread::quartiles(&costs))
}

/// Requests in a row by one system call, each of another port of one client; the empty program in turn. The filters of these flows
/// go between two calls.
fn once_in_a_row(program: &mut Program, kind: &Kind, family: Family, effort: Effort) -> Option<Spread> {
    let connections = effort.part(PORTS / 2);
    let client = client(family, FIRST_UNKNOWN);
    let frame = (kind.packet)(family, client).frame();
    let before = match family {
        Family::Ipv4 => Before::NextClientIpv4,
        Family::Ipv6 => Before::NextClientIpv6,
    };
    let mut bare = Bare::load(before, &frame, &Flows::new([0; 4], 0))?;
    let acks: Vec<u32> = (0..PORTS)
        .map(|port| match kind.clients {
            Clients::Idle => (kind.packet)(family, client).ack,
            Clients::Known | Clients::New => ack_at(family, client, port as u16),
        })
        .collect();
    bare.set_acks(&acks);
    let keys: Vec<FlowKey> = (0..PORTS).map(|port| key_at(family, client, port as u16)).collect();
    kind.prepare(program, family);
    let [pass, front] = ["pass", "front"].map(|name| program.fd(name).try_clone().unwrap());
    let counted = program.counters();
    let costs: Vec<f64> = (0..effort.rounds)
        .map(|_| {
            kind.open(program, family, &keys);
            let [floor, cost] = [&pass, &front].map(|fd| bare.measure(fd).mean_ns(connections));
            program.clear_filters();
            cost - floor
        })
        .collect();
    super::assert_counted(program, &counted, kind.counter, effort.rounds as u64 * u64::from(connections));
    Some(Spread::quartiles(&costs))
}

/// Writes the filters of the first clients of each family.
fn insert_known(program: &mut Program, each: u32) {
    for family in Family::BOTH {
        let keys: Vec<FlowKey> = (0..each).map(|number| key(family, client(family, number))).collect();
        insert(
            program,
            &keys,
            Filter { response_ns: 1, flags: filter::flag::RESPONDED, ..established(family) },
        );
    }
}

/// Writes filters that are alike.
fn insert(program: &mut Program, keys: &[FlowKey], value: Filter) {
    let table = program.filter_table();
    for keys in keys.chunks(8_192) {
        assert_eq!(table.update_batch(keys, &vec![value; keys.len()]), 0);
    }
}

/// A flow whose first request was answered, and which is followed.
fn idle(family: Family) -> Filter {
    let open = established(family);
    let flags = filter::flag::RESPONDED | filter::flag::FOLLOWED;
    Filter { response_ns: 1, flags, boundary: open.next_seq, ..open }
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
fn scattered(number: u32, limit: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b9) % limit
}

fn key(family: Family, client: IpAddr) -> FlowKey {
    key_at(family, client, CLIENT_PORT)
}

fn key_at(family: Family, client: IpAddr, port: u16) -> FlowKey {
    FlowKey::new(client.into(), port.to_be(), service_id(family))
}

/// What acknowledges the SYN-ACK of a client.
fn ack_of(family: Family, client: IpAddr) -> u32 {
    ack_at(family, client, CLIENT_PORT)
}

fn ack_at(family: Family, client: IpAddr, port: u16) -> u32 {
    let tuple = Tuple { client: Address::from(client), client_port_be: port.to_be(), ..family.tuple() };
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

/// As curl sends it.
fn quick(family: Family, client: IpAddr) -> Segment {
    asking(family, client, 60, "User-Agent: curl/8.5.0\r\nAccept: */*\r\n")
}

fn quick_200(family: Family, client: IpAddr) -> Segment {
    asking(family, client, 200, "User-Agent: curl/8.5.0\r\nAccept: */*\r\n")
}

fn quick_browser(family: Family, client: IpAddr) -> Segment {
    asking(family, client, 60, BROWSER)
}

/// The next request of an idle flow.
fn further(family: Family, client: IpAddr) -> Segment {
    let open = idle(family);
    Segment { seq: open.boundary, ack: open.request_ack.wrapping_add(700), ..quick(family, client) }
}

/// What a browser sends beside line and host.
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: http://www.example.org/some/page/before\r\nDNT: 1\r\nConnection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n";

/// A request for a target of so many bytes.
fn asking(family: Family, client: IpAddr, target_len: usize, fields: &str) -> Segment {
    let target = "/images/".repeat(target_len.div_ceil(8));
    let line = format!("GET {} HTTP/1.1\r\nHost: www.example.org", &target[..target_len]);
    handshake_end(family, client).with_payload(format!("{line}\r\n{fields}\r\n").as_bytes())
}

/// The cookie is wrong by one.
fn unknown(family: Family, client: IpAddr) -> Segment {
    let segment = handshake_end(family, client);
    Segment { ack: segment.ack ^ 1, ..segment }
}

fn foreign(family: Family, client: IpAddr) -> Segment {
    Segment { destination_port: 81, ..known(family, client) }
}

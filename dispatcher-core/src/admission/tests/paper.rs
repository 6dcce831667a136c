//! Tables 2 to 4 of the paper: a request of priority 2 comes to a filter-table with priorities 0, 5, 7 and 7.

use dispatcher_common::admission::{AdmissionEntry, Ruling};

use super::*;

/// Table 2: address and port, recent issue time (hours and minutes ago), delay in tenths of a second, priority.
const TABLE_2: [(&str, (u64, u64), u64, u8); 4] = [
    ("140.117.164.108:4557", (9, 10), 40, 0),
    ("140.122.65.25:3987", (3, 12), 56, 5),
    ("210.149.106.141:1821", (1, 3), 68, 7),
    ("210.135.11.1:6521", (0, 5), 41, 7),
];

const NEWCOMER: &str = "140.117.164.90:4147";
const NOW_NS: u64 = 24 * 3600 * SECOND_NS;

fn table() -> Vec<(SocketAddr, Filter)> {
    let filter = |(client, (hours, minutes), delay, level): (&str, (u64, u64), u64, u8)| {
        let request_ns = NOW_NS - (hours * 60 + minutes) * 60 * SECOND_NS;
        (client.parse().unwrap(), answered(level, request_ns, request_ns + delay * SECOND_NS / 10))
    };
    TABLE_2.into_iter().map(filter).collect()
}

/// What the slow path does with a first request, as Fig. 3 says.
fn admit(
    table: &mut Vec<(SocketAddr, Filter)>,
    entry: &AdmissionEntry,
    newcomer: (SocketAddr, Filter),
) -> bool {
    let level = newcomer.1.priority;
    match entry.judge(level) {
        Ruling::Refuse => return false,
        Ruling::Admit => {}
        Ruling::Evict(_) => {
            let mut collector = collector();
            table.iter().for_each(|(client, filter)| collector.offer(key(*client), filter, NOW_NS));
            let victim = collector.finish().take(priority(level)).unwrap();
            let at = table.iter().position(|(client, _)| key(*client) == victim.key).unwrap();
            assert!(victim.is_unchanged(&table.remove(at).1));
        }
    }
    table.push(newcomer);
    true
}

fn clients(table: &[(SocketAddr, Filter)]) -> Vec<String> {
    table.iter().map(|(client, _)| client.to_string()).collect()
}

fn entry(limit: u64) -> AdmissionEntry {
    let mut entry = AdmissionSettings::default().entry();
    entry.limit = limit;
    table().iter().for_each(|(_, filter)| entry.open[usize::from(filter.priority)] += 1);
    entry
}

#[test]
fn below_the_limit_table_2_becomes_table_3() {
    let mut table = table();
    assert!(admit(&mut table, &entry(5), (NEWCOMER.parse().unwrap(), waiting(2, NOW_NS))));
    let expected: Vec<_> = TABLE_2.iter().map(|row| row.0).chain([NEWCOMER]).collect();
    assert_eq!(clients(&table), expected);
}

#[test]
fn at_the_limit_table_2_becomes_table_4() {
    let mut table = table();
    assert!(admit(&mut table, &entry(4), (NEWCOMER.parse().unwrap(), waiting(2, NOW_NS))));
    let expected: Vec<_> = TABLE_2[1..].iter().map(|row| row.0).chain([NEWCOMER]).collect();
    assert_eq!(clients(&table), expected, "140.117.164.108:4557 had the lowest priority");
}

#[test]
fn at_the_limit_a_newcomer_of_the_lowest_priority_is_refused() {
    let mut table = table();
    assert!(!admit(&mut table, &entry(4), (NEWCOMER.parse().unwrap(), waiting(0, NOW_NS))));
    assert_eq!(clients(&table), TABLE_2.map(|row| row.0));
}

#[test]
fn the_papers_limit_is_kept_for_every_number_of_servers() {
    let overload = |limit| Overload::new(&AdmissionSettings { limit, ..AdmissionSettings::default() });
    let paper = overload(ConnectionLimit::Paper);
    for (servers, expected) in [(0, 0), (1, 54), (2, 119), (3, 184), (16, 15 * 65 + 54)] {
        assert_eq!(paper.limit(servers), expected);
    }
    assert_eq!(overload(ConnectionLimit::Fixed(7)).limit(3), 7);
    assert_eq!(overload(ConnectionLimit::None).limit(3), u64::MAX);
}

//! A known flow among many, each packet of another one, beside the bare rewriter: what memory costs both.

use std::collections::BTreeMap;

use tests::report::{Cell, Column, Section, Spread, Table};

use super::{
    Effort,
    bare::{Bare, Before},
    flows::Flows,
};
use crate::program::Program;

const BITS: [u32; 2] = [17, 20];
/// Packets by one system call, after some that fill the caches.
const PACKETS: u32 = 400_000;
/// The most that the front-end may cost, as a multiple of the bare rewriter.
const MOST: f64 = 1.3;

/// Adds a table. False if it could not be measured.
pub(crate) fn report(section: &mut Section, effort: Effort) -> bool {
    section.text(
        "**Known flows among many**: every packet is of another flow, in an order without a pattern, both programs in turn. The \
         bare rewriter (C, clang) looks up the flow (16 bytes) and its server's addresses, writes twelve bytes and sends: no \
         counters, no clock, no state of the flow. What bounds it: an entry of the rewriter has 72 bytes, 9 MB for 131 072 flows; one of ours 192, \
         25 MB, of which a segment reads two cache lines and writes one. Caches hold less of that; where they hold neither, the two are close.",
    );
    let mut table = Table::new(
        "flows",
        [
            Column::number("flows", "", 0),
            Column::number("front", "ns", 0),
            Column::number("bare rewriter", "ns", 0),
            Column::number("ratio", "", 2),
        ],
    );
    let mut ratios = Vec::new();
    for bits in BITS {
        let bits = bits - effort.shift;
        let flows = Flows::new([10, 0, 0, 0], bits);
        let Some([front, bare]) = measure(&flows, effort) else { return false };
        let each: Vec<f64> = front.iter().zip(&bare).map(|(front, bare)| front / bare).collect();
        let ratio = Spread::quartiles(&each);
        table.row([
            Cell::from(u64::from(flows.count())),
            Spread::quartiles(&front).into(),
            Spread::quartiles(&bare).into(),
            ratio.into(),
        ]);
        ratios.push((flows.count(), ratio.median));
    }
    section.table(table);
    for (count, ratio) in ratios {
        let what = format!("known flow among {count}: at most {MOST} times the bare rewriter");
        section.goal(&what, format!("{ratio:.2}"), ratio <= MOST);
    }
    true
}

/// Nanoseconds a packet of `front` and of the bare rewriter, net, round by round.
fn measure(flows: &Flows, effort: Effort) -> Option<[Vec<f64>; 2]> {
    let mut program = Program::with_room(flows.count())?;
    flows.insert(&mut program);
    let mut bare = Bare::load(Before::NextFlow, &flows.acknowledgement().frame(), flows)?;
    bare.insert(flows);
    let targets = [
        ("pass", program.fd("pass").try_clone().unwrap()),
        ("front", program.fd("front").try_clone().unwrap()),
        ("bare", bare.fd()),
    ];
    let packets = effort.part(PACKETS);
    let before = program.counters();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..effort.rounds {
        for (name, fd) in &targets {
            let measured = bare.measure(fd);
            measured.mean_ns(packets / 4);
            times.entry(name).or_default().push(measured.mean_ns(packets));
        }
    }
    super::assert_counted(
        &program,
        &before,
        dispatcher_common::counter::FrontCounter::Forwarded,
        effort.rounds as u64 * u64::from(packets + packets / 4),
    );
    let net = |name| times[name].iter().zip(&times["pass"]).map(|(with, floor)| with - floor).collect();
    Some([net("front"), net("bare")])
}

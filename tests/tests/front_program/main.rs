//! Ring c: the front-end's XDP program, packet in, verdict, packet out and counters, by `BPF_PROG_TEST_RUN`. No network, no
//! namespaces, but root: each test prints why it is skipped without.
//!
//! One file for each rule of the program holds a table of cases; every case runs for IPv4 and IPv6.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod admission;
mod choice;
mod cost;
mod crowd;
mod further;
mod golden;
mod icmp;
mod kept;
mod known;
mod member;
mod open;
mod program;
mod published;
mod quick;
mod refused;
mod renewed;
mod request;
mod returned;
mod scene;
mod segment;
mod shared;
mod source;
mod sources;
mod speed;
mod syn;
mod table;
mod unknown;

use std::collections::HashSet;

use dispatcher_common::counter::FrontCounter;

use crate::segment::Family;

#[test]
fn every_counter_is_reached_by_a_case_of_each_family() {
    for family in Family::BOTH {
        let tables = [
            admission::cases(family),
            further::cases(family),
            icmp::cases(family),
            kept::cases(family),
            known::cases(family),
            open::cases(family),
            quick::cases(family),
            refused::cases(family),
            renewed::cases(family),
            request::cases(family),
            returned::cases(family),
            source::cases(family),
            syn::cases(family),
            unknown::cases(family),
        ];
        let reached: HashSet<FrontCounter> =
            tables.iter().flatten().flat_map(|case| case.counters.iter().copied()).collect();
        for counter in FrontCounter::ALL {
            // IPv6 has no options in its header and IPv4 no extension headers.
            let other_family = match family {
                Family::Ipv4 => FrontCounter::ExtensionDropped,
                Family::Ipv6 => FrontCounter::IpOptionsDropped,
            };
            assert!(
                *counter == other_family || reached.contains(counter),
                "no case of {family:?} reaches {}",
                counter.name()
            );
        }
    }
}

//! Path-MTU messages about packets of the VIP; all other ICMP is the kernel's.

use std::net::IpAddr;

use dispatcher_common::{
    checksum::sum_bytes,
    counter::FrontCounter,
    filter::{Filter, state},
    server::Traffic,
};

use crate::{
    program::SERVER_MAC,
    segment::{CLIENT_MAC, CLIENT_PORT, FRONT_MAC, Family, PORT, ip_packet, transport_sum},
    table::{self, Case, DROP, PASS, REDIRECT, TX, World, established, filter},
};

/// A message of a router about a packet from the VIP to a client.
#[derive(Clone, Copy)]
struct Message {
    family: Family,
    kind: [u8; 2],
    inner_source: IpAddr,
    inner_protocol: u8,
    port: u16,
}

impl Message {
    fn too_big(family: Family) -> Self {
        let kind = match family {
            Family::Ipv4 => [3, 4],
            Family::Ipv6 => [2, 0],
        };
        Self { family, kind, inner_source: family.vip(), inner_protocol: 6, port: PORT }
    }

    fn frame(self) -> Vec<u8> {
        let family = self.family;
        let mut tcp = [self.port.to_be_bytes(), CLIENT_PORT.to_be_bytes()].concat();
        tcp.extend([0; 4]);
        let inner = ip_packet(self.inner_source, family.client(), 60, self.inner_protocol, &tcp);
        let mut icmp = vec![self.kind[0], self.kind[1], 0, 0, 0, 0, 0x05, 0];
        icmp.extend(&inner[2..]);
        let (protocol, checksum) = match family {
            Family::Ipv4 => (1, sum_bytes(&icmp).finish()),
            Family::Ipv6 => (58, transport_sum(&family.router(), &family.vip(), 58, &icmp).finish()),
        };
        icmp[2..4].copy_from_slice(&checksum.to_ne_bytes());
        let outer = ip_packet(family.router(), family.vip(), 61, protocol, &icmp);
        [[FRONT_MAC, CLIENT_MAC].concat(), outer].concat()
    }
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = forwarded(family);
    cases.extend(not_ours(family));
    cases
}

fn forwarded(family: Family) -> Vec<Case> {
    let frame = Message::too_big(family).frame();
    let to_server = |name, filter: Filter, action| {
        Case::new(name, frame.clone(), action, [FrontCounter::IcmpForwarded]).with_filter(filter).check(
            move |outcome| {
                assert_eq!(outcome.after[..12], [SERVER_MAC, FRONT_MAC].concat());
                assert_eq!(outcome.after[12..], outcome.before[12..]);
                assert_eq!(outcome.traffic.packets, 1);
                assert_eq!(outcome.filter, Some(filter), "a router's word does not refresh a flow");
            },
        )
    };
    let unknown = |name| Case::new(name, frame.clone(), DROP, [FrontCounter::IcmpUnknownDropped]);
    vec![
        to_server("a path-MTU message goes to the flow's server", established(family), TX),
        to_server("also while it closes", filter(family, state::CLOSING), TX),
        to_server("also in two-arm mode", established(family), REDIRECT).in_world(World::TwoArm),
        unknown("of a flow without a filter"),
        unknown("of a pending flow").with_filter(filter(family, state::PENDING)),
        unknown("of a flow that we answered").with_filter(filter(family, state::ANSWERED)),
        Case::new(
            "for a server without a MAC address",
            frame.clone(),
            DROP,
            [FrontCounter::ServerUnusableDropped],
        )
        .with_filter(established(family))
        .in_world(World::ServerWithoutMac)
        .check(|outcome| assert_eq!(outcome.traffic, Traffic::default())),
    ]
}

fn not_ours(family: Family) -> Vec<Case> {
    let message = Message::too_big(family);
    let (echo, unreachable) = match family {
        Family::Ipv4 => ([8, 0], [3, 1]),
        Family::Ipv6 => ([128, 0], [1, 4]),
    };
    let passed = |name, message: Message| {
        Case::new(name, message.frame(), PASS, [FrontCounter::OtherPassed]).with_filter(established(family))
    };
    let mut cut = passed("a message that is cut short", message);
    cut.frame.truncate(family.payload_offset() + 20);
    vec![
        passed("a ping of the VIP", Message { kind: echo, ..message }),
        passed("another unreachable", Message { kind: unreachable, ..message }),
        passed("about UDP", Message { inner_protocol: 17, ..message }),
        passed("about another port", Message { port: 81, ..message }),
        passed("about no port", Message { port: 0, ..message }),
        passed(
            "about another source than its destination",
            Message { inner_source: family.router(), ..message },
        ),
        cut,
    ]
}

#[test]
fn path_mtu_messages_find_the_server_of_their_flow() {
    table::run(cases);
}

//! What never comes as far as a flow: other services, impossible lengths, fragments, options and headers of IP, our own ticket.

use dispatcher_common::counter::FrontCounter;

use crate::{
    segment::{ACK, Family, SYN, Segment, ip_packet},
    table::{self, Case, DROP, ISN, PASS, established, good_ack},
};

fn segment(family: Family) -> Segment {
    Segment::of_client(family, ACK, ISN.wrapping_add(1), good_ack(family)).with_payload(&[5; 40])
}

fn passed(name: &'static str, frame: Vec<u8>) -> Case {
    Case::new(name, frame, PASS, [FrontCounter::OtherPassed])
}

fn dropped(name: &'static str, frame: Vec<u8>, counter: FrontCounter) -> Case {
    Case::new(name, frame, DROP, [counter])
}

/// The usual segment with some bytes of its frame changed.
fn patched(family: Family, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = segment(family).frame();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

pub(crate) fn cases(family: Family) -> Vec<Case> {
    let mut cases = others(family);
    cases.extend(malformed(family));
    cases.extend(hidden_ports(family));
    cases.extend(tickets(family));
    cases
}

fn others(family: Family) -> Vec<Case> {
    let mut port = segment(family);
    port.destination_port = 81;
    let mut port_zero = segment(family);
    port_zero.destination_port = 0;
    let mut address = segment(family);
    address.destination = family.router();
    let tcp = family.payload_offset();
    let link = segment(family).frame()[..12].to_vec();
    let udp = ip_packet(family.client(), family.vip(), 9, 17, &[0; 60]);
    vec![
        passed("another port of the VIP", port.frame()),
        passed("port 0 of the VIP", port_zero.frame()),
        passed("another address", address.frame()),
        passed("UDP to the VIP", [link, udp].concat()),
        passed("another EtherType", patched(family, 12, &[0x08, 0x06])),
        passed("a frame that ends in its IP header", segment(family).frame()[..30].to_vec()),
        passed("a frame that ends in its TCP header", segment(family).frame()[..tcp + 19].to_vec()),
        passed("nothing but Ethernet", segment(family).frame()[..14].to_vec()),
    ]
}

fn malformed(family: Family) -> Vec<Case> {
    let tcp = family.payload_offset();
    // IPv4 counts its own header.
    let (len_at, header_len) = match family {
        Family::Ipv4 => (16, 20),
        Family::Ipv6 => (18, 0),
    };
    let tcp_len = |len: u8| patched(family, len_at, &[0, header_len + len]);
    let bad = |name, frame| dropped(name, frame, FrontCounter::MalformedDropped);
    vec![
        bad("a TCP header shorter than its fixed part", patched(family, tcp + 12, &[0x40])),
        bad("a TCP header longer than its segment", tcp_len(19)),
        bad("an IP length shorter than a header", patched(family, len_at, &[0, 10])),
        bad("an IP length of zero", patched(family, len_at, &[0, 0])),
        bad("an IP length beyond the frame", patched(family, len_at, &[0x02, 0])),
    ]
}

fn hidden_ports(family: Family) -> Vec<Case> {
    let other_vip = |mut frame: Vec<u8>| {
        let last = match family {
            Family::Ipv4 => 33,
            Family::Ipv6 => 53,
        };
        frame[last] ^= 0xff;
        frame
    };
    let frames: Vec<(&str, Vec<u8>, FrontCounter)> = match family {
        Family::Ipv4 => vec![
            ("a first fragment", patched(family, 20, &[0x20, 0]), FrontCounter::FragmentDropped),
            ("a later fragment", patched(family, 20, &[0, 9]), FrontCounter::FragmentDropped),
            ("IP options", patched(family, 14, &[0x46]), FrontCounter::IpOptionsDropped),
        ],
        Family::Ipv6 => [0, 43, 51, 60, 135]
            .map(|header| {
                ("an extension header", patched(family, 20, &[header]), FrontCounter::ExtensionDropped)
            })
            .into_iter()
            .chain([("a fragment", patched(family, 20, &[44]), FrontCounter::FragmentDropped)])
            .collect(),
    };
    frames
        .into_iter()
        .flat_map(|(name, frame, counter)| {
            [dropped(name, frame.clone(), counter), passed("the same to another address", other_vip(frame))]
        })
        .collect()
}

fn tickets(family: Family) -> Vec<Case> {
    let ticket: [u8; 16] = [253, 16, 0xd1, 0x5b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let foreign = |name, segment: Segment| {
        dropped(name, segment.with_options(&ticket).frame(), FrontCounter::ForeignTicketDropped)
    };
    let mut syn = segment(family);
    syn.flags = SYN;
    let mut short = ticket;
    short[1] = 12;
    vec![
        foreign("a client's own ticket on an unknown flow", segment(family)),
        foreign("on a SYN", syn),
        foreign("on a known flow", segment(family)).with_filter(established(family)),
        Case::new(
            "another experiment is no ticket",
            segment(family).with_options(&[253, 4, 0x12, 0x34]).frame(),
            table::REDIRECT,
            [FrontCounter::RequestFirst],
        ),
        Case::new(
            "nor is one of another length",
            segment(family).with_options(&short).frame(),
            table::REDIRECT,
            [FrontCounter::RequestFirst],
        ),
    ]
}

#[test]
fn what_is_not_a_segment_of_a_service_is_passed_or_dropped() {
    table::run(cases);
}

//! ICMP "fragmentation needed" and ICMPv6 "packet too big" (RFC 1191, RFC 8201): a router on a client's path tells the VIP about
//! a packet that a server sent. They go to that server, or the path stays a black hole. All other ICMP is the kernel's.

use dispatcher_common::{
    address::Address,
    counter::FrontCounter,
    filter::{FlowKey, state},
    service::ServiceKey,
};
use dispatcher_ebpf::{
    frame::Frame,
    header::{ETHERNET_LEN, IPV4_VERSION_AND_WORDS, Ipv4, Ipv6, protocol},
    packet::Family,
};

use super::{forward as servers, maps, service, verdict::Verdict};

/// Bytes of an ICMP header before the packet that it is about.
const ICMP_LEN: usize = 8;
/// Type and code of "fragmentation needed".
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Type and code of "packet too big".
const PACKET_TOO_BIG: [u8; 2] = [2, 0];

/// The packet that the message is about, as its server sent it.
struct Subject {
    vip: Address,
    client: Address,
    port_be: u16,
    client_port_be: u16,
}

#[inline(never)]
pub(super) fn forward(frame: Frame, family: Family) -> Verdict {
    let subject = match family {
        Family::Ipv4 => ipv4(frame),
        Family::Ipv6 => ipv6(frame),
    };
    match subject {
        Some(subject) => to_server(frame, &subject),
        None => Verdict::PASS,
    }
}

#[inline(always)]
fn to_server(frame: Frame, subject: &Subject) -> Verdict {
    let key = ServiceKey::new(subject.vip, subject.port_be);
    if key.port_be() == maps::ANY_PORT {
        return Verdict::PASS;
    }
    let (Some(service), Some(settings)) = (service::find(&key), maps::settings()) else {
        return Verdict::PASS;
    };
    let flow = FlowKey::new(subject.client, subject.client_port_be, service.id);
    match maps::filter(&flow) {
        Some(filter) if matches!(filter.state, state::ESTABLISHED | state::CLOSING) => {
            servers::to_server(frame, settings, filter.server, FrontCounter::IcmpForwarded)
        }
        _ => Verdict::drop(FrontCounter::IcmpUnknownDropped),
    }
}

#[inline(always)]
fn ipv4(frame: Frame) -> Option<Subject> {
    let icmp = Family::Ipv4.payload_offset();
    if frame.read::<[u8; 2]>(icmp)? != FRAGMENTATION_NEEDED {
        return None;
    }
    let outer = frame.read::<Ipv4>(ETHERNET_LEN)?;
    let inner = frame.read::<Ipv4>(icmp + ICMP_LEN)?;
    if inner.version_and_words != IPV4_VERSION_AND_WORDS
        || inner.protocol != protocol::TCP
        || inner.source_be != outer.destination_be
    {
        return None;
    }
    let vip = Address::from_ipv4_be(inner.source_be);
    let client = Address::from_ipv4_be(inner.destination_be);
    subject(frame, vip, client, icmp + ICMP_LEN + size_of::<Ipv4>())
}

#[inline(always)]
fn ipv6(frame: Frame) -> Option<Subject> {
    let icmp = Family::Ipv6.payload_offset();
    if frame.read::<[u8; 2]>(icmp)? != PACKET_TOO_BIG {
        return None;
    }
    let outer = frame.read::<Ipv6>(ETHERNET_LEN)?;
    let inner = frame.read::<Ipv6>(icmp + ICMP_LEN)?;
    if inner.next_header != protocol::TCP
        || Address::from_halves(inner.source) != Address::from_halves(outer.destination)
    {
        return None;
    }
    subject(
        frame,
        Address::from_halves(inner.source),
        Address::from_halves(inner.destination),
        icmp + ICMP_LEN + size_of::<Ipv6>(),
    )
}

#[inline(always)]
fn subject(frame: Frame, vip: Address, client: Address, ports_offset: usize) -> Option<Subject> {
    let [port_be, client_port_be] = frame.read::<[u16; 2]>(ports_offset)?;
    Some(Subject { vip, client, port_be, client_port_be })
}

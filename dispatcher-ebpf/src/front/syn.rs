//! SYNs: answered with a cookie, without storing anything, unless admission turns them away. A filter that the flow has already only notes the new ISN.

use dispatcher_common::{
    counter::FrontCounter,
    filter::flag,
    limits::{SYN_ACK_WINDOW, WINDOW_SCALE},
    syn_options::{DEFAULT_MSS, SynOptions},
};
use dispatcher_ebpf::{
    header::tcp_flag,
    packet::{Family, Packet},
    tcp_options::TcpOptions,
};

use super::{
    admission, handshake, maps,
    reply::{self, Header, NOPS, TWO_NOPS},
    segment::Segment,
    verdict::Verdict,
};

#[inline(never)]
pub(super) fn answer(segment: &Segment<'_>) -> Verdict {
    let packet = segment.packet;
    if packet.flags & (tcp_flag::ACK | tcp_flag::FIN | tcp_flag::RST) != 0 {
        return Verdict::drop(FrontCounter::MalformedDropped);
    }
    if let Some(refusal) = admission::refuse_syn(segment) {
        return refusal;
    }
    let offer = TcpOptions::parse(segment.frame, packet);
    let options =
        SynOptions::new(offer.mss().unwrap_or(DEFAULT_MSS), offer.window_scale(), offer.sack_permitted());
    let header = Header {
        seq: handshake::cookie(segment, options),
        ack: packet.seq.wrapping_add(1),
        flags: tcp_flag::SYN | tcp_flag::ACK,
        window: SYN_ACK_WINDOW,
    };
    let counter = note(segment);
    reply::send(segment, &header, our_options(segment, offer), counter)
}

/// Lets the flow's filter, if there is one, know of the new connection that may follow. A SYN of the very connection that the
/// filter is for is late or repeated and announces nothing.
#[inline(always)]
fn note(segment: &Segment<'_>) -> FrontCounter {
    let Packet { seq, .. } = *segment.packet;
    match maps::filter(&segment.flow_key()) {
        Some(filter) if filter.first_seq != seq.wrapping_add(1) => {
            filter.noted_isn = seq;
            filter.flags |= flag::SYN_NOTED;
            FrontCounter::SynNoted
        }
        _ => FrontCounter::SynAnswered,
    }
}

/// Always five words, with no-operations for what the client does not offer: MSS, SACK permitted, timestamps, window scale.
#[inline(always)]
fn our_options(segment: &Segment<'_>, offer: TcpOptions) -> [u32; 5] {
    let mss = match segment.packet.family {
        Family::Ipv4 => segment.settings.mss_ipv4,
        Family::Ipv6 => segment.settings.mss_ipv6,
    };
    let sack = if offer.sack_permitted() { 0x0402_0000 } else { TWO_NOPS };
    let (timestamps, value, echo) = match offer.timestamp_be() {
        Some(theirs) => (0x080a, handshake::timestamp(), u32::from_be(theirs)),
        None => (TWO_NOPS >> 16, NOPS, NOPS),
    };
    let scale = match offer.window_scale() {
        Some(_) => 0x0103_0300 | WINDOW_SCALE as u32,
        None => NOPS,
    };
    [0x0204_0000 | mss as u32, sack | timestamps, value, echo, scale]
}

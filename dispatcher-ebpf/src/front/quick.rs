//! The quick path of a first request: its class is known from the class cache, so a server is chosen here, and the frame goes
//! there with a ticket, without the control plane. Whatever is not as usual, or not certain, is left to the slow path; what is
//! done here is what the slow path would do. `further` decides by it, too.

use dispatcher_common::{
    choice::further,
    class_cache::CachedClass,
    counter::FrontCounter,
    filter::{self, Filter, FlowKey, state},
    limits::{MAX_OPTIONS_BESIDE_TICKET, TICKET_LEN},
    service::flag,
};
use dispatcher_ebpf::header::{ETHERNET_LEN, Ethernet, TCP_LEN, tcp_flag};

use super::{
    admission,
    choice::{self, Chosen},
    class_cache, clock, forward, handshake, kept,
    maps::{self, Refused},
    segment::Segment,
    source, ticket,
    verdict::Verdict,
};

/// A request that is dispatched here. It is in a map, because the stack has no room for it.
#[repr(C)]
pub(super) struct Request {
    filter: Filter,
    pub(super) cached: CachedClass,
    pub(super) chosen: Chosen,
}

/// Sends a first request, which admission by address has let in, to a server; or leaves it to the slow path.
#[inline(always)]
pub(super) fn dispatch(segment: &Segment<'_>, key: &FlowKey, options: u8) -> Option<Verdict> {
    if segment.service.flags & flag::QUICK == 0 || !is_plain(segment) {
        return None;
    }
    admit(segment, options).map(|request| send(segment, key, request))
}

/// Whether nothing but its bytes is asked of the segment, and a ticket fits into it.
#[inline(always)]
pub(super) fn is_plain(segment: &Segment<'_>) -> bool {
    let packet = segment.packet;
    let packet_len = packet.tcp_offset() + packet.segment_len - ETHERNET_LEN;
    packet.flags & (tcp_flag::FIN | tcp_flag::RST | tcp_flag::SYN) == 0
        && packet.header_len <= TCP_LEN + MAX_OPTIONS_BESIDE_TICKET
        && packet_len + TICKET_LEN <= segment.settings.mtu as usize
}

/// Class and server, as the slow path would decide, if that is certain.
#[inline(always)]
pub(super) fn decide(segment: &Segment<'_>) -> Option<&'static mut Request> {
    let request = maps::quick_request()?;
    request.cached = class_cache::look_up(segment)?;
    let chosen = choice::choose(segment, &request.cached).filter(|chosen| forward::is_usable(chosen.server));
    let Some(chosen) = chosen else {
        maps::count(FrontCounter::ClassCacheUndecided.index());
        return None;
    };
    request.chosen = chosen;
    Some(request)
}

/// The request with its filter, if all of that is certain.
#[inline(never)]
fn admit(segment: &Segment<'_>, options: u8) -> Option<&'static Request> {
    let priority = admission::final_priority(segment)?;
    let request = decide(segment)?;
    let Ethernet { source: client_mac, .. } = segment.frame.read(0)?;
    let filter = &mut request.filter;
    fill(filter, segment);
    filter.class = request.cached.class;
    filter.server = request.chosen.server;
    filter.options = options;
    filter.priority = priority;
    filter.client_mac = client_mac;
    Some(request)
}

/// Writes what is not zero in a new filter; the rest never was anything else here.
#[inline(always)]
fn fill(filter: &mut Filter, segment: &Segment<'_>) {
    let packet = segment.packet;
    let now_ns = clock::now_ns();
    filter.created_ns = now_ns;
    filter.last_seen_ns = now_ns;
    filter.request_ns = now_ns;
    filter.packets = 1;
    filter.bytes = segment.frame.len_bytes() as u64;
    filter.handoff_seq = packet.seq;
    filter.handoff_ack = packet.ack;
    filter.request_ack = packet.ack;
    filter.last_ack = packet.ack;
    filter.first_seq = packet.seq;
    filter.next_seq = kept::end(packet);
    filter.requests = 1;
    filter.state = state::ESTABLISHED;
    // The head is the whole segment then.
    let is_followed = segment.service.flags & flag::PER_REQUEST != 0;
    (filter.flags, filter.boundary) =
        if is_followed { (filter::flag::FOLLOWED, kept::end(packet)) } else { (0, 0) };
}

/// The filter is written before the frame leaves, so that of two copies of a segment one is sent. What follows on the same queue
/// leaves after it all the same.
#[inline(never)]
fn send(segment: &Segment<'_>, key: &FlowKey, request: &Request) -> Verdict {
    let Request { filter, cached, chosen } = request;
    let Some(frame) = ticket::add(segment, filter, handshake::path(segment)) else {
        return Verdict::drop(FrontCounter::NoHeadroomDropped);
    };
    match maps::insert_filter(key, filter) {
        Ok(()) => {}
        // A copy of this segment came in by another queue at the same time.
        Err(Refused::Exists) => return Verdict::drop(FrontCounter::RequestAgain),
        Err(Refused::Full) => return Verdict::drop(FrontCounter::FilterTableFull),
    }
    source::count_opened(segment);
    maps::count_opened(segment.service.owner, filter.priority);
    choice::note(segment, cached, chosen, filter.priority, further::NOT);
    forward::to_server(frame, segment.settings, filter.server, FrontCounter::RequestQuick)
}

//! A new connection on the client port of one that still has a filter (port reuse). Its SYN was noted in the filter; only a
//! good cookie proves that the SYN was not a spoofer's.

use dispatcher_common::{
    cookie::Check,
    counter::FrontCounter,
    filter::{Filter, FlowKey, flag, state},
};

use super::{handshake, maps, open, segment::Segment};

/// Whether the segment belongs to the noted new connection and is to be judged as of an unknown flow. The old filter goes once
/// the new connection has data: until then the old one may still be alive.
#[inline(always)]
pub(super) fn takes_over(segment: &Segment<'_>, key: &FlowKey, filter: &Filter) -> bool {
    filter.flags & flag::SYN_NOTED != 0 && is_noted(segment, key, filter)
}

#[inline(never)]
fn is_noted(segment: &Segment<'_>, key: &FlowKey, filter: &Filter) -> bool {
    let packet = segment.packet;
    let isn = filter.noted_isn;
    // Its first segment starts right after the ISN, a keep-alive probe before it at the ISN itself.
    let ahead = packet.seq.wrapping_sub(isn);
    if ahead > 1 || !matches!(handshake::check(segment, isn), Check::Good(_)) {
        return false;
    }
    if ahead == 1 && packet.payload_len() != 0 {
        replace(segment, key, filter);
    }
    true
}

/// Removes the old filter, which counts as open no longer.
#[inline(always)]
fn replace(segment: &Segment<'_>, key: &FlowKey, filter: &Filter) {
    let (state, priority) = (filter.state, filter.priority);
    if maps::remove_filter(key) && state == state::ESTABLISHED {
        open::count_closed(segment, priority);
    }
    maps::count(FrontCounter::FilterReplaced.index());
}

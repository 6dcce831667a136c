//! The first segment of a flow's first request: a pending filter is written and the frame goes to the control plane.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    slow_path::kind,
    syn_options::SynOptions,
};

use super::{
    clock,
    maps::{self, Refused},
    segment::Segment,
    slow_path,
    verdict::Verdict,
};

/// Admits a flow whose cookie was good. The filter is written last, so that a frame which nobody takes leaves none behind.
#[inline(always)]
pub(super) fn admit(segment: &Segment<'_>, key: &FlowKey, options: SynOptions) -> Verdict {
    let bytes = segment.frame.len_bytes() as u64;
    let meta = slow_path::meta(segment, kind::FIRST, options.0);
    let verdict = slow_path::hand_over(segment, meta, FrontCounter::RequestFirst);
    if verdict != Verdict::redirect(FrontCounter::RequestFirst) {
        return verdict;
    }
    let packet = segment.packet;
    match insert_pending(key, packet.seq, packet.ack, bytes, [options.0, segment.service.priority]) {
        Ok(()) => verdict,
        // A copy of this segment came in by another queue at the same time, and the control plane gets that one.
        Err(Refused::Exists) => Verdict::drop(FrontCounter::RequestAgain),
        Err(Refused::Full) => Verdict::drop(FrontCounter::FilterTableFull),
    }
}

/// Not inlined: the program's stack has no room for a filter beside what the verdict on a cookie needs.
#[inline(never)]
fn insert_pending(
    key: &FlowKey,
    handoff_seq: u32,
    handoff_ack: u32,
    bytes: u64,
    [options, priority]: [u8; 2],
) -> Result<(), Refused> {
    let now_ns = clock::now_ns();
    let filter = Filter {
        created_ns: now_ns,
        last_seen_ns: now_ns,
        response_ns: 0,
        packets: 1,
        bytes,
        handoff_seq,
        handoff_ack,
        noted_isn: 0,
        class: 0,
        server: 0,
        state: state::PENDING,
        options,
        priority,
        flags: 0,
        reserved: 0,
    };
    maps::insert_filter(key, &filter)
}

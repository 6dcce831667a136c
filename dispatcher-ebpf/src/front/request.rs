//! The first segment of a flow's first request: `quick` sends it to a server, or a pending filter is written and the frame goes
//! to the control plane.

use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    slow_path::kind,
    syn_options::SynOptions,
};
use dispatcher_ebpf::header::Ethernet;

use super::{
    admission, clock, frame,
    maps::{self, Refused},
    quick,
    segment::Segment,
    slow_path, source,
    verdict::Verdict,
};

/// Admits a flow whose cookie was good, if admission does. The filter is written last, so that a frame which nobody takes leaves
/// none behind.
#[inline(always)]
pub(super) fn admit(segment: &Segment<'_>, key: &FlowKey, options: SynOptions) -> Verdict {
    let priority = match admission::admit_first(segment) {
        Ok(priority) => priority,
        Err(refusal) => return refusal,
    };
    if let Some(verdict) = quick::dispatch(segment, key, options.0) {
        return verdict;
    }
    let meta = slow_path::meta(segment, kind::FIRST, options.0);
    let verdict = slow_path::hand_over(segment, meta, FrontCounter::RequestFirst);
    if verdict != Verdict::redirect(FrontCounter::RequestFirst) {
        return verdict;
    }
    match insert_pending(segment, key, options.0, priority) {
        Ok(()) => {
            source::count_opened(segment);
            verdict
        }
        // A copy of this segment came in by another queue at the same time, and the control plane gets that one.
        Err(Refused::Exists) => Verdict::drop(FrontCounter::RequestAgain),
        Err(Refused::Full) => Verdict::drop(FrontCounter::FilterTableFull),
    }
}

/// Not inlined: the program's stack has no room for a filter beside what the verdict on a cookie needs.
#[inline(never)]
fn insert_pending(segment: &Segment<'_>, key: &FlowKey, options: u8, priority: u8) -> Result<(), Refused> {
    let packet = segment.packet;
    // As it lies now: the metadata went before it.
    let frame = frame::of(segment.ctx);
    let Ethernet { source: client_mac, .. } = frame.read(0).ok_or(Refused::Full)?;
    let now_ns = clock::now_ns();
    let filter = Filter {
        created_ns: now_ns,
        last_seen_ns: now_ns,
        request_ns: now_ns,
        response_ns: 0,
        packets: 1,
        bytes: frame.len_bytes() as u64,
        handoff_seq: packet.seq,
        handoff_ack: packet.ack,
        noted_isn: 0,
        request_ack: packet.ack,
        last_ack: packet.ack,
        next_seq: packet.seq.wrapping_add(packet.payload_len() as u32),
        requests: 1,
        class: 0,
        server: 0,
        state: state::PENDING,
        options,
        priority,
        flags: 0,
        client_mac,
        move_to: 0,
        boundary: 0,
        moves: 0,
        kept_busy: 0,
        opaque: 0,
        number: 0,
        reserved: [0; 6],
        first_seq: packet.seq,
        padding: 0,
    };
    maps::insert_filter(key, &filter)
}

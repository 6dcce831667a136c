//! Frames for the control plane: metadata before the frame, then to the AF_XDP socket of the queue that it came in by.

use aya_ebpf::helpers::bpf_xdp_adjust_meta;
use dispatcher_common::{
    counter::FrontCounter,
    filter::Filter,
    slow_path::{META_LEN, SlowPathMeta},
};

use super::{maps, segment::Segment, verdict::Verdict};

/// Metadata for a flow that has no server yet.
#[inline(always)]
pub(super) fn meta(segment: &Segment<'_>, kind: u8, options: u8) -> SlowPathMeta {
    SlowPathMeta { kind, options, service: segment.service.id, server: 0, class: 0 }
}

/// Metadata for a flow that a server has.
#[inline(always)]
pub(super) fn meta_of(segment: &Segment<'_>, filter: &Filter, kind: u8) -> SlowPathMeta {
    SlowPathMeta { server: filter.server, class: filter.class, ..meta(segment, kind, filter.options) }
}

/// Nobody listens. The frame is as it was.
pub(super) const ABSENT: Verdict = Verdict::drop(FrontCounter::SlowPathAbsentDropped);

/// Gives the frame away. Dropped when nobody listens: the client repeats it, whereas the kernel would answer with a RST.
#[inline(always)]
pub(super) fn hand_over(segment: &Segment<'_>, meta: SlowPathMeta, counter: FrontCounter) -> Verdict {
    if !maps::redirect_to_slow_path(segment.ctx.rx_queue_index()) {
        return ABSENT;
    }
    match write_meta(segment, meta) {
        Some(()) => Verdict::redirect(counter),
        None => Verdict::drop(FrontCounter::NoHeadroomDropped),
    }
}

#[inline(always)]
fn write_meta(segment: &Segment<'_>, meta: SlowPathMeta) -> Option<()> {
    let ctx = segment.ctx;
    // SAFETY: the context is the kernel's; no pointer into the old frame is used again.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(META_LEN as i32)) } != 0 {
        return None;
    }
    let start = ctx.metadata();
    if start + META_LEN > ctx.metadata_end() {
        return None;
    }
    // SAFETY: the compare above proves the bounds.
    unsafe { (start as *mut SlowPathMeta).write_unaligned(meta) };
    Some(())
}

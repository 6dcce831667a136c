//! Frames of an XDP context, and moving their ends.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use dispatcher_ebpf::frame::Frame;

/// The frame as it lies now.
#[inline(always)]
pub(super) fn of(ctx: &XdpContext) -> Frame {
    // SAFETY: the kernel keeps the bytes between these until the program ends or moves the frame's ends, after which every
    // user of this module asks again.
    unsafe { Frame::new(ctx.data(), ctx.data_end()) }
}

/// Makes room before the frame.
#[inline(always)]
pub(super) fn grow_head(ctx: &XdpContext, bytes: usize) -> Option<Frame> {
    // SAFETY: the context is the kernel's; no pointer into the old frame is used again.
    let result = unsafe { bpf_xdp_adjust_head(ctx.ctx, -(bytes as i32)) };
    if result == 0 { Some(of(ctx)) } else { None }
}

/// Gives the frame another length, at its head when it grows: tails have no room on every driver.
#[inline(always)]
pub(super) fn resize(ctx: &XdpContext, frame: Frame, len_bytes: usize) -> Option<Frame> {
    let now = frame.len_bytes();
    if now <= len_bytes {
        // The SYN of a Linux client has the length of our answer.
        return if now == len_bytes { Some(frame) } else { grow_head(ctx, len_bytes - now) };
    }
    // SAFETY: as above.
    let result = unsafe { bpf_xdp_adjust_tail(ctx.ctx, len_bytes as i32 - now as i32) };
    if result == 0 { Some(of(ctx)) } else { None }
}

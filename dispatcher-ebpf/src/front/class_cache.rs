//! Asking the class cache: the scan of a request's head, and the look-up. What the scan accepts is said in
//! `dispatcher_common::head_scan`; what an entry leads to is `quick`'s and `choice`'s.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_loop, generated::bpf_xdp_load_bytes},
};
use dispatcher_common::{
    class_cache::CachedClass,
    counter::FrontCounter,
    head_scan::{HeadScan, MAX_HEAD, MAX_STEPS, Step},
    service::flag,
};
use dispatcher_ebpf::text::Text;

use super::{maps, segment::Segment};

/// What is known of the request, if its head is whole and as usual. Where every request is dispatched, nothing may follow it: the
/// next one would have to be looked at, too.
#[inline(always)]
pub(super) fn look_up(segment: &Segment<'_>) -> Option<CachedClass> {
    let key = key(segment);
    if key == UNUSUAL {
        maps::count(FrontCounter::ClassCacheUnusual.index());
        return None;
    }
    let cached =
        maps::cached_class(key).filter(|cached| cached.generation == segment.settings.class_cache_generation);
    if cached.is_none() {
        maps::count(FrontCounter::ClassCacheMiss.index());
    }
    cached
}

/// In place of a key; a key may be that, too, once in 2^64.
const UNUSUAL: u64 = 0;

/// A scan and its text.
#[repr(C)]
pub(super) struct Scanning {
    scan: HeadScan,
    text: Text,
}

const _: () = assert!(MAX_HEAD <= Text::MAX_LEN);

/// A scan on its way from line to line.
#[repr(C)]
struct Walk {
    scanning: &'static mut Scanning,
    ended: u64,
}

/// The request's key, or [`UNUSUAL`].
#[inline(always)]
fn key(segment: &Segment<'_>) -> u64 {
    let Segment { packet, settings, ctx, service, .. } = segment;
    let tcp = packet.tcp_offset();
    let start = (tcp + packet.header_len) as u64;
    let end = (tcp + packet.segment_len) as u64;
    let limit = settings.head_limit as u64;
    let longest = start + if limit < MAX_HEAD as u64 { limit } else { MAX_HEAD as u64 };
    let alone = if service.flags & flag::PER_REQUEST != 0 { ALONE } else { 0 };
    if alone != 0 && end > longest {
        return UNUSUAL;
    }
    scan_head(ctx.ctx, start, if end < longest { end } else { longest }, service.owner as u64 | alone)
}

/// Beside the service, says that the head must end where the bytes do.
const ALONE: u64 = 1 << 8;

/// The key of the head that lies between two offsets of the frame, or [`UNUSUAL`]; `service` may have [`ALONE`] beside it.
///
/// A global function: the verifier walks it once, knowing nothing of its arguments, and not once for every way to it. The scan
/// itself is in a map, for want of stack, and because the verifier does not follow numbers there: else it would walk each step
/// once for every value of its counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_head(ctx: *mut xdp_md, start: u64, end: u64, service: u64) -> u64 {
    let (Some(settings), Some(scanning)) = (maps::settings(), maps::head_scan()) else { return UNUSUAL };
    let len = end.wrapping_sub(start);
    // SAFETY: there is room for so many bytes (Linux 5.18).
    let copy = |to: *mut u8, len| unsafe { bpf_xdp_load_bytes(ctx, start as u32, to.cast(), len) == 0 };
    if len > MAX_HEAD as u64 || !scanning.text.take(len as u32, copy) {
        return UNUSUAL;
    }
    scanning.scan.start(&settings.class_cache_key, 0);
    let mut walk = Walk { scanning, ended: 0 };
    let step: unsafe extern "C" fn(u64, *mut Walk) -> i64 = step;
    // SAFETY: `step` takes an index and what is given here, which outlives the call (Linux 5.17). A loop of our own the verifier
    // would walk once for every word and way.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut walk).cast(), 0) };
    let Walk { scanning: Scanning { scan, .. }, ended } = walk;
    if ended == 0 || service & ALONE != 0 && scan.end() != len {
        return UNUSUAL;
    }
    scan.key(service as u8)
}

/// Lines that are looked at by one call, which costs as much as half a line.
const LINES: usize = 8;

/// Looks at some lines; 1 ends the walk.
///
/// # Safety
/// `walk` is valid, and nobody else's.
unsafe extern "C" fn step(_: u64, walk: *mut Walk) -> i64 {
    // SAFETY: by contract.
    let walk = unsafe { &mut *walk };
    let Scanning { scan, text } = &mut *walk.scanning;
    match scan.steps(LINES, text) {
        Step::More => 0,
        Step::End => {
            walk.ended = 1;
            1
        }
        Step::Unusual => 1,
    }
}

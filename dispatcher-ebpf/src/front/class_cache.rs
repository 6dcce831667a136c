//! Asking the class cache: the scan of a request's head, and the look-up. What the scan accepts is said in
//! `dispatcher_common::head_scan`; what an entry leads to is `quick`'s and `choice`'s.

use core::ffi::c_void;

use aya_ebpf::{bindings::xdp_md, helpers::bpf_loop, programs::XdpContext};
use dispatcher_common::{
    class_cache::CachedClass,
    counter::FrontCounter,
    head_scan::{BLOCK, HeadScan, MAX_HEAD, MAX_STEPS, Step, WORD, Words},
    service::flag,
};
use dispatcher_ebpf::frame::Frame;

use super::{frame, maps, segment::Segment};

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

/// Changes no offset of a word in a frame that the scan takes, but bounds it for the verifier.
const OFFSET_MASK: u64 = 0x0fff;

// No header is longer, IPv6 and TCP with all its options.
const _: () = assert!(MAX_HEAD + 14 + 40 + 60 < OFFSET_MASK as usize);

/// A scan on its way from word to word.
#[repr(C)]
struct Walk {
    scan: &'static mut HeadScan,
    bytes: Bytes,
    ended: u64,
}

#[repr(C)]
struct Bytes {
    frame: Frame,
    /// Offset in the frame of what follows the last byte that may belong to the head.
    end: u64,
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
    let (Some(settings), Some(scan)) = (maps::settings(), maps::head_scan()) else { return UNUSUAL };
    scan.start(&settings.class_cache_key, start);
    let mut walk = Walk { scan, bytes: Bytes { frame: frame::of(&XdpContext::new(ctx)), end }, ended: 0 };
    let step: unsafe extern "C" fn(u64, *mut Walk) -> i64 = step;
    // SAFETY: `step` takes an index and what is given here, which outlives the call (Linux 5.17). A loop of our own the verifier
    // would walk once for every word and way.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.ended == 0 || service & ALONE != 0 && walk.scan.end() != end {
        return UNUSUAL;
    }
    walk.scan.key(service as u8)
}

/// Takes one step; 1 ends the walk.
///
/// # Safety
/// `walk` is valid, and nobody else's.
unsafe extern "C" fn step(_: u64, walk: *mut Walk) -> i64 {
    // SAFETY: by contract.
    let walk = unsafe { &mut *walk };
    match walk.scan.step(&walk.bytes) {
        Step::More => 0,
        Step::End => {
            walk.ended = 1;
            1
        }
        Step::Unusual => 1,
    }
}

impl Bytes {
    #[inline(always)]
    fn read(&self, at: u64) -> Option<u64> {
        self.frame.read((at & OFFSET_MASK) as usize).map(u64::from_le)
    }
}

impl Words for Bytes {
    /// The last word is read from before, so that no read goes beyond the frame.
    #[inline(always)]
    fn word(&self, at: u64) -> Option<u64> {
        let after = at + WORD as u64;
        if after <= self.end {
            return self.read(at);
        }
        if at >= self.end {
            return None;
        }
        let missing = after - self.end;
        Some(self.read(at - missing)? >> ((8 * missing) & 63))
    }

    #[inline(always)]
    fn block(&self, at: u64) -> Option<[u64; BLOCK]> {
        if at + (BLOCK * WORD) as u64 > self.end {
            return None;
        }
        self.frame.read((at & OFFSET_MASK) as usize)
    }
}

//! The kernel's coarse monotonic clock: steps of 1 to 10 ms. Each CPU asks for it once a tick and remembers the answer; the tick
//! itself is a load, asking costs as much as a third of all else that a known flow needs.

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, generated::bpf_jiffies64};

use super::maps;

const NS_PER_US: u64 = 1000;

/// What a CPU remembers.
#[repr(C)]
pub(super) struct Clock {
    tick: u64,
    now_ns: u64,
    /// The same in µs, as loads are reckoned.
    now_us: u64,
}

/// The current tick, to see that what was remembered is of this one.
#[inline(always)]
pub(super) fn tick() -> u64 {
    // SAFETY: no argument, no requirement (Linux 5.6, where the verifier makes it a load).
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
pub(super) fn now_ns() -> u64 {
    current().map_or_else(ask, |clock| clock.now_ns)
}

#[inline(always)]
pub(super) fn now_us() -> u64 {
    current().map_or_else(|| ask() / NS_PER_US, |clock| clock.now_us)
}

/// What this CPU knows in this tick.
#[inline(always)]
fn current() -> Option<&'static Clock> {
    let clock = maps::clock()?;
    let tick = tick();
    if clock.tick != tick {
        let now_ns = ask();
        *clock = Clock { tick, now_ns, now_us: now_ns / NS_PER_US };
    }
    Some(clock)
}

#[inline(always)]
fn ask() -> u64 {
    // SAFETY: no argument, no requirement (Linux 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

//! Requests by class and all together: what arrived, was answered or given up, and how many are held now. `flow` and `requests`
//! say when.
//!
//! An evicted entry with requests under way leaves both too high; the agent corrects that from time to time.

use dispatcher_common::server::ClassStats;
use dispatcher_ebpf::atomic;

use super::maps::{CLASS_STATS, HELD};

/// Requests held now. The agent's correction may cross a step of ours and leave the number negative for a moment.
#[inline(always)]
pub(super) fn held() -> u32 {
    // SAFETY: an aligned map value.
    let held = HELD.get_ptr(0).map_or(0, |held| unsafe { held.read_volatile() }) as i64;
    if held < 0 { 0 } else { held as u32 }
}

#[inline(always)]
fn change_held(by: i64) {
    if let Some(held) = HELD.get_ptr_mut(0) {
        // SAFETY: an aligned map value.
        unsafe { atomic::add(held, by as u64) };
    }
}

/// A request arrived.
#[inline(always)]
pub(super) fn arrive(class: u16) {
    change_held(1);
    record(class, |stats| stats.arrived += 1);
}

/// The response to a request has begun.
#[inline(always)]
pub(super) fn answer(class: u16, service_ns: u64) {
    change_held(-1);
    record(class, |stats| {
        stats.answered += 1;
        stats.service_ns += service_ns;
    });
}

/// A request will have no response.
#[inline(always)]
pub(super) fn abandon(class: u16) {
    change_held(-1);
    record(class, |stats| stats.abandoned += 1);
}

#[inline(always)]
fn record(class: u16, change: impl FnOnce(&mut ClassStats)) {
    if let Some(stats) = CLASS_STATS.get_ptr_mut(class as u32) {
        // SAFETY: a per-CPU value; see `maps::count`.
        change(unsafe { &mut *stats });
    }
}

//! Maps of the server's programs. Sizes that depend on the configuration are set by the loader.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use dispatcher_common::{
    counter::BackCounter,
    filter::FlowKey,
    limits::{MAX_CLASSES, MAX_SERVICES},
    server::{ClassStats, ServerFlow},
    service::{ServiceEntry, ServiceKey},
    settings::BackSettings,
};

use super::responses::Following;

/// What this server serves.
#[map]
pub(super) static SERVICES: HashMap<ServiceKey, ServiceEntry> =
    HashMap::with_max_entries(MAX_SERVICES as u32, 0);

/// Flows that were handed off here; the least recently used are forgotten when it is full.
#[map]
pub(super) static FLOWS: LruHashMap<FlowKey, ServerFlow> = LruHashMap::with_max_entries(262_144, 0);

/// Requests by class, cumulative.
#[map]
pub(super) static CLASS_STATS: PerCpuArray<ClassStats> = PerCpuArray::with_max_entries(MAX_CLASSES as u32, 0);

/// Requests held now, all classes; signed, see `flow`.
#[map]
pub(super) static HELD: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub(super) static SETTINGS: Array<BackSettings> = Array::with_max_entries(1, 0);

#[map]
pub(super) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(BackCounter::ALL.len() as u32, 0);

/// A walk through what a server sends, in the making.
#[map]
static FOLLOWING: PerCpuArray<Following> = PerCpuArray::with_max_entries(1, 0);

/// Version of these types, for a loader that finds the maps pinned.
#[map]
static ABI: Array<u32> = Array::with_max_entries(1, 0);

/// Boot id of the reports: as long as this map lives, the flows do.
#[map]
static BOOT: Array<u64> = Array::with_max_entries(1, 0);

/// Room for a walk.
#[inline(always)]
pub(super) fn following() -> Option<&'static mut Following> {
    // SAFETY: a per-CPU slot; egress is not interrupted by itself, and nobody else writes it.
    FOLLOWING.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

/// Adds one to a counter.
#[inline(always)]
pub(super) fn count(counter: BackCounter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter.index()) {
        // SAFETY: a per-CPU slot; programs of one CPU do not preempt each other between load and store on the same hook.
        unsafe { *slot += 1 };
    }
}

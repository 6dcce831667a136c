//! The program's maps and the few ways in which it touches them. Sizes that the configuration decides are set by the loader.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_action},
    macros::map,
    maps::{Array, DevMap, HashMap, PerCpuArray, XskMap},
};
use dispatcher_common::{
    counter::FrontCounter,
    filter::{Filter, FlowKey},
    limits::{MAX_QUEUES, MAX_SERVERS, MAX_SERVICES},
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};

use super::{
    clock::Clock,
    service::{Recent, SLOTS},
};

/// Port of the entry that stands for a VIP as such; the loader adds one for each VIP. Fragments and packets with extension
/// headers do not show their port.
pub(super) const ANY_PORT: u16 = 0;

/// Services, and an entry with [`ANY_PORT`] for each VIP.
#[map]
static SERVICES: HashMap<ServiceKey, ServiceEntry> = HashMap::with_max_entries(2 * MAX_SERVICES as u32, 0);

/// The filter-table. Not an LRU map: that would silently cut live flows.
#[map]
static FILTERS: HashMap<FlowKey, Filter> = HashMap::with_max_entries(262_144, 0);

#[map]
static SERVERS: Array<ServerEntry> = Array::with_max_entries(MAX_SERVERS as u32, 0);

#[map]
static SETTINGS: Array<FrontSettings> = Array::with_max_entries(1, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(FrontCounter::ALL.len() as u32, 0);

#[map]
static SERVER_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_SERVERS as u32, 0);

#[map]
static RECENT_SERVICES: PerCpuArray<Recent> = PerCpuArray::with_max_entries(SLOTS, 0);

#[map]
static CLOCK: PerCpuArray<Clock> = PerCpuArray::with_max_entries(1, 0);

/// AF_XDP socket of each RX queue.
#[map]
static XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES as u32, 0);

/// Slot 0: the interface towards the servers, if it is not the clients' one.
#[map]
static OUT: DevMap = DevMap::with_max_entries(1, 0);

/// `dispatcher_common::limits::ABI_VERSION`, written by the loader.
#[map]
static ABI: Array<u32> = Array::with_max_entries(1, 0);

/// Counts an event, given the index of its counter.
#[inline(always)]
pub(super) fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: this CPU's slot of a map that lives as long as the program; XDP does not preempt itself.
        unsafe { *value += 1 };
    }
}

/// Adds a packet to what a server was sent.
#[inline(always)]
pub(super) fn count_traffic(server: u16, bytes: usize) {
    if let Some(traffic) = SERVER_TRAFFIC.get_ptr_mut(server as u32) {
        // SAFETY: as in `count`.
        unsafe {
            (*traffic).packets += 1;
            (*traffic).bytes += bytes as u64;
        }
    }
}

/// What this CPU remembers of the clock.
#[inline(always)]
pub(super) fn clock() -> Option<&'static mut Clock> {
    // SAFETY: as in `count`; any bits are a valid `Clock`.
    CLOCK.get_ptr_mut(0).map(|clock| unsafe { &mut *clock })
}

/// What this CPU remembers in a slot.
#[inline(always)]
pub(super) fn recent_service(slot: u32) -> Option<&'static mut Recent> {
    // SAFETY: as in `count`; any bits are a valid `Recent`.
    RECENT_SERVICES.get_ptr_mut(slot).map(|recent| unsafe { &mut *recent })
}

#[inline(always)]
pub(super) fn service(key: &ServiceKey) -> Option<ServiceEntry> {
    // SAFETY: the entry is copied at once; an update meanwhile may tear it, and its users bear any value.
    unsafe { SERVICES.get(key) }.copied()
}

/// The filter of a flow. The control plane replaces entries whole, other CPUs may write the same one: fields are read and
/// written one by one and no invariant spans two of them.
#[inline(always)]
pub(super) fn filter(key: &FlowKey) -> Option<&'static mut Filter> {
    // SAFETY: entries of a preallocated map stay readable and writable memory, and any bits are a valid `Filter`.
    FILTERS.get_ptr_mut(key).map(|filter| unsafe { &mut *filter })
}

/// Why a new filter was not written.
pub(super) enum Refused {
    /// Another CPU has just written one.
    Exists,
    /// The table is full.
    Full,
}

/// Writes the filter of a flow that has none.
#[inline(always)]
pub(super) fn insert_filter(key: &FlowKey, filter: &Filter) -> Result<(), Refused> {
    const EXISTS: i32 = -17;
    match FILTERS.insert(key, filter, BPF_NOEXIST as u64) {
        Ok(()) => Ok(()),
        Err(EXISTS) => Err(Refused::Exists),
        Err(_) => Err(Refused::Full),
    }
}

#[inline(always)]
pub(super) fn remove_filter(key: &FlowKey) {
    // One that the control plane removed first is gone all the same.
    let _ = FILTERS.remove(key);
}

#[inline(always)]
pub(super) fn server(index: u16) -> Option<&'static ServerEntry> {
    SERVERS.get(index as u32)
}

#[inline(always)]
pub(super) fn settings() -> Option<&'static FrontSettings> {
    SETTINGS.get(0)
}

/// Points the frame at the interface towards the servers; says whether there is one.
#[inline(always)]
pub(super) fn redirect_out() -> bool {
    OUT.redirect(0, xdp_action::XDP_DROP as u64).is_ok()
}

/// Points the frame at the AF_XDP socket of a queue; says whether there is one.
#[inline(always)]
pub(super) fn redirect_to_slow_path(queue: u32) -> bool {
    XSKS.redirect(queue, xdp_action::XDP_DROP as u64).is_ok()
}

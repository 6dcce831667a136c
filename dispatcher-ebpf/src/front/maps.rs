//! The program's maps and the few ways in which it touches them. Sizes that the configuration decides are set by the loader.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST, xdp_action},
    helpers::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, XskMap},
};
use dispatcher_common::{
    admission::{AdmissionEntry, PriorityStats, SourceKey, SourceRate},
    block::{MemberLevels, MemberLine},
    choice::{
        Account, Added, Candidates, ClassServers, DispatchRecord, HotHome, HotHomes, RECORDS_PER_CPU,
        RecordHead, ServerLoads, ServiceChoice, ServiceTimes, Turn,
    },
    class_cache::CachedClass,
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    limits::{
        MAX_CLASSES, MAX_MEMBER_LINES, MAX_MEMBER_MARKS, MAX_PRIORITY, MAX_QUEUES, MAX_SERVERS, MAX_SERVICES,
        PRIORITIES,
    },
    member::Scope,
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_ebpf::atomic;

use super::{
    choice::Scratch,
    class_cache::Scanning,
    clock::Clock,
    quick::Request,
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

/// Admission by configured service. Mapped into the control plane, which counts flows up in it.
#[map]
static ADMISSION: Array<AdmissionEntry> = Array::with_max_entries(MAX_SERVICES as u32, BPF_F_MMAPABLE);

/// The member-table's first stage, two halves. Mapped into the control plane, which writes the one that no service refers to.
#[map]
static MEMBERS: Array<MemberLine> = Array::with_max_entries(2 * MAX_MEMBER_LINES as u32, BPF_F_MMAPABLE);

/// Marks of the blocks in [`MEMBERS`].
#[map]
static MEMBER_MARKS: Array<u64> = Array::with_max_entries(2 * MAX_MEMBER_MARKS as u32, BPF_F_MMAPABLE);

/// Levels of the blocks in [`MEMBERS`], see [`MemberLevels::index`].
#[map]
static MEMBER_LEVELS: Array<MemberLevels> = Array::with_max_entries(2 * MAX_SERVICES as u32, BPF_F_MMAPABLE);

/// How quickly each source opens connections. The least recently used one is forgotten, and then begins anew.
#[map]
static SOURCE_RATES: LruHashMap<SourceKey, SourceRate> = LruHashMap::with_max_entries(65_536, 0);

/// Flows that each source has open, pending ones included.
#[map]
static SOURCE_OPEN: LruHashMap<SourceKey, u64> = LruHashMap::with_max_entries(65_536, 0);

#[map]
static PRIORITY_STATS: PerCpuArray<PriorityStats> =
    PerCpuArray::with_max_entries((MAX_SERVICES * PRIORITIES) as u32, 0);

/// Requests on kept connections by CPU and server, of which no dispatch tells. Mapped into the control plane, which reckons loads
/// by them and so reads them often: a per-CPU array cannot be mapped. The loader gives it room for all CPUs.
#[map]
static KEPT_REQUESTS: Array<u64> = Array::with_max_entries(MAX_SERVERS as u32, BPF_F_MMAPABLE);

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

/// How to choose for each configured service. This and the maps up to [`SERVER_LOADS`] are mapped into the control plane, which
/// publishes in them.
#[map]
static SERVICE_CHOICES: Array<ServiceChoice> = Array::with_max_entries(MAX_SERVICES as u32, BPF_F_MMAPABLE);

/// Servers that may be chosen, in two halves for each configured service.
#[map]
static CANDIDATES: Array<Candidates> = Array::with_max_entries(2 * MAX_SERVICES as u32, BPF_F_MMAPABLE);

#[map]
static CLASS_SERVERS: Array<ClassServers> = Array::with_max_entries(MAX_CLASSES as u32, BPF_F_MMAPABLE);

/// By server, and after those the means of all.
#[map]
static SERVICE_TIMES: Array<ServiceTimes> = Array::with_max_entries(MAX_SERVERS as u32 + 1, BPF_F_MMAPABLE);

/// By configured service.
#[map]
static HOT_HOMES: Array<HotHomes> = Array::with_max_entries(MAX_SERVICES as u32, BPF_F_MMAPABLE);

#[map]
static SERVER_LOADS: Array<ServerLoads> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What was dispatched to each server. Mapped into the control plane, which adds its own dispatches.
#[map]
static ACCOUNTS: Array<Account> = Array::with_max_entries(MAX_SERVERS as u32, BPF_F_MMAPABLE);

/// The last server of each configured service with `round-robin`. Mapped into the control plane, which takes turns, too.
#[map]
static TURNS: Array<Turn> = Array::with_max_entries(MAX_SERVICES as u32, BPF_F_MMAPABLE);

/// A ring for each CPU, mapped into the control plane, which learns from them. The loader knows how many CPUs there are.
#[map]
static DISPATCH_RECORDS: Array<DispatchRecord> =
    Array::with_max_entries(RECORDS_PER_CPU as u32, BPF_F_MMAPABLE);

/// How far each ring is written, by CPU.
#[map]
static RECORD_HEADS: Array<RecordHead> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Classes of requests that were seen before, by [`dispatcher_common::head_scan`]'s key.
#[map]
static CLASS_CACHE: LruHashMap<u64, CachedClass> = LruHashMap::with_max_entries(65_536, 0);

/// This CPU's scan of a head.
#[map]
static HEAD_SCAN: PerCpuArray<Scanning> = PerCpuArray::with_max_entries(1, 0);

/// The request that this CPU is about to dispatch.
#[map]
static QUICK: PerCpuArray<Request> = PerCpuArray::with_max_entries(1, 0);

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

/// Counts a request on a kept connection to a server.
#[inline(always)]
pub(super) fn count_kept_request(server: u16) {
    // SAFETY: no argument, no requirement.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if (server as usize) < MAX_SERVERS
        && let Some(count) = KEPT_REQUESTS.get_ptr_mut(cpu * MAX_SERVERS as u32 + server as u32)
    {
        // SAFETY: an aligned value of the map, of this CPU alone.
        unsafe { *count += 1 };
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

/// Says whether it was this call that removed the filter: the control plane may be first, and it is gone all the same.
#[inline(always)]
pub(super) fn remove_filter(key: &FlowKey) -> bool {
    FILTERS.remove(key).is_ok()
}

/// The word of a filter that begins with its state.
const STATE_OFFSET: usize = offset_of!(Filter, state);

const _: () = assert!(STATE_OFFSET.is_multiple_of(8) && state::ESTABLISHED as u64 <= STATE_MASK);

const STATE_MASK: u64 = 0xff;

/// Takes a filter from established to closing; says whether it was this call that did it.
#[inline(always)]
pub(super) fn close_filter(filter: &mut Filter) -> bool {
    let word = (&raw mut *filter).cast::<u64>().wrapping_byte_add(STATE_OFFSET);
    // SAFETY: inside the filter, which is aligned to eight bytes and has no padding.
    let old = unsafe { word.read() };
    if old & STATE_MASK != state::ESTABLISHED as u64 {
        return false;
    }
    let new = old & !STATE_MASK | state::CLOSING as u64;
    // SAFETY: the same word of a map's value. What may fail it is another CPU with the same flow, and then the client's next
    // FIN or RST, or the time-out, closes.
    unsafe { atomic::replace(word, old, new) }
}

#[inline(always)]
pub(super) fn admission(owner: u8) -> Option<&'static AdmissionEntry> {
    ADMISSION.get(owner as u32)
}

/// One established flow of this priority more.
#[inline(always)]
pub(super) fn count_opened(owner: u8, priority: u8) {
    add_open(owner, priority, 1);
}

/// One established flow of this priority less.
#[inline(always)]
pub(super) fn count_closed(owner: u8, priority: u8) {
    add_open(owner, priority, 1_u64.wrapping_neg());
}

#[inline(always)]
fn add_open(owner: u8, priority: u8, addend: u64) {
    if let Some(entry) = ADMISSION.get_ptr_mut(owner as u32) {
        let start = entry.cast::<u64>().wrapping_byte_add(offset_of!(AdmissionEntry, open));
        let open = start.wrapping_add((priority & MAX_PRIORITY) as usize);
        // SAFETY: an aligned word of the map's value.
        unsafe { atomic::add(open, addend) };
    }
}

/// What this CPU counts of a configured service and priority.
#[inline(always)]
pub(super) fn priority_stats(owner: u8, priority: u8) -> Option<&'static mut PriorityStats> {
    let index = owner as u32 * PRIORITIES as u32 + (priority & MAX_PRIORITY) as u32;
    // SAFETY: as in `count`; any bits are a valid `PriorityStats`.
    PRIORITY_STATS.get_ptr_mut(index).map(|stats| unsafe { &mut *stats })
}

/// A line of the member-table.
#[inline(always)]
pub(super) fn member_line(number: u32) -> Option<&'static MemberLine> {
    MEMBERS.get(number)
}

/// A word of marks.
#[inline(always)]
pub(super) fn member_marks(number: u32) -> u64 {
    MEMBER_MARKS.get(number).copied().unwrap_or_default()
}

/// The levels of a generation of rules.
#[inline(always)]
pub(super) fn member_levels(scope: Scope) -> Option<&'static MemberLevels> {
    MEMBER_LEVELS.get(MemberLevels::index(scope))
}

/// How quickly a source opens connections. Two CPUs that count at once may lose one of two; a limit bears that.
#[inline(always)]
pub(super) fn source_rate(key: &SourceKey) -> Option<&'static mut SourceRate> {
    // SAFETY: as in `filter`.
    SOURCE_RATES.get_ptr_mut(key).map(|rate| unsafe { &mut *rate })
}

#[inline(always)]
pub(super) fn insert_source_rate(key: &SourceKey, rate: &SourceRate) {
    // Full is impossible, and one that another CPU has just written is as good.
    let _ = SOURCE_RATES.insert(key, rate, BPF_NOEXIST as u64);
}

/// Flows that a source has open.
#[inline(always)]
pub(super) fn source_open(key: &SourceKey) -> Option<u64> {
    // SAFETY: copied at once, from memory that stays readable.
    unsafe { SOURCE_OPEN.get(key) }.copied()
}

/// Adds to the flows that a source has open; says whether it has an entry.
#[inline(always)]
pub(super) fn add_source_open(key: &SourceKey, addend: u64) -> bool {
    match SOURCE_OPEN.get_ptr_mut(key) {
        Some(open) => {
            // SAFETY: an aligned value of the map.
            unsafe { atomic::add(open, addend) };
            true
        }
        None => false,
    }
}

/// Writes a source's first open flow; one that another CPU has just written is corrected by the control plane.
#[inline(always)]
pub(super) fn insert_source_open(key: &SourceKey) {
    let _ = SOURCE_OPEN.insert(key, 1, BPF_NOEXIST as u64);
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

/// How to choose for a configured service.
#[inline(always)]
pub(super) fn service_choice(owner: u8) -> Option<&'static ServiceChoice> {
    SERVICE_CHOICES.get(owner as u32)
}

/// One half of a service's candidates.
#[inline(always)]
pub(super) fn candidates(index: u32) -> Option<&'static Candidates> {
    CANDIDATES.get(index)
}

/// Whether a class is bound to a server.
#[inline(always)]
pub(super) fn is_of_class(class: u16, server: u16) -> bool {
    CLASS_SERVERS.get(class as u32).is_some_and(|servers| servers.contains(server))
}

/// Room in which this CPU chooses.
#[inline(always)]
pub(super) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: as in `count`; any bits are a valid `Scratch`.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// The service time of a class in an entry; 0 if it is not known.
#[inline(always)]
pub(super) fn service_time(entry: u32, class: u16) -> Option<u32> {
    Some(SERVICE_TIMES.get(entry)?.0[class as usize % MAX_CLASSES])
}

/// What is known of a hot target.
#[inline(always)]
pub(super) fn hot_home(owner: u8, target: u64) -> Option<HotHome> {
    HOT_HOMES.get(owner as u32)?.find(target)
}

/// What the control plane knows of the servers.
#[inline(always)]
pub(super) fn server_loads() -> Option<&'static ServerLoads> {
    SERVER_LOADS.get(0)
}

/// What was added to a server's account.
#[inline(always)]
pub(super) fn added(server: u16) -> Added {
    Added(ACCOUNTS.get(server as u32).map_or(0, |account| account.added))
}

/// Adds to a server's account.
#[inline(always)]
pub(super) fn add_to_account(server: u16, addend: Added) {
    if let Some(account) = ACCOUNTS.get_ptr_mut(server as u32) {
        // SAFETY: the first word of an aligned value of the map.
        unsafe { atomic::add(account.cast(), addend.0) };
    }
}

/// The last turn of a service. CPUs that take one at once may take the same.
#[inline(always)]
pub(super) fn turn(owner: u8) -> Option<&'static mut Turn> {
    // SAFETY: memory of the map; any bits are a valid `Turn`.
    TURNS.get_ptr_mut(owner as u32).map(|turn| unsafe { &mut *turn })
}

/// Writes a record behind the others of this CPU, over the oldest one.
#[inline(always)]
pub(super) fn write_record(record: &DispatchRecord) {
    // SAFETY: no argument, no requirement.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(head) = RECORD_HEADS.get_ptr_mut(cpu) else { return };
    let head = head.cast::<u64>();
    // SAFETY: the first word of an aligned value; only this CPU writes it.
    let written = unsafe { head.read() };
    let index = cpu * RECORDS_PER_CPU as u32 + written as u32 % RECORDS_PER_CPU as u32;
    let Some(place) = DISPATCH_RECORDS.get_ptr_mut(index) else { return };
    // SAFETY: a value of the map that only this CPU writes. Replacing the head by an atomic step is a full barrier: whoever sees it
    // sees the record.
    unsafe {
        place.write(*record);
        atomic::replace(head, written, written.wrapping_add(1));
    }
}

/// What is known of requests with this key.
#[inline(always)]
pub(super) fn cached_class(key: u64) -> Option<CachedClass> {
    // SAFETY: copied at once, from memory that stays readable.
    unsafe { CLASS_CACHE.get(key) }.copied()
}

/// Where this CPU scans a head.
#[inline(always)]
pub(super) fn head_scan() -> Option<&'static mut Scanning> {
    // SAFETY: as in `count`; any bits are a valid `Scanning`.
    HEAD_SCAN.get_ptr_mut(0).map(|scan| unsafe { &mut *scan })
}

/// Where this CPU keeps the request that it dispatches.
#[inline(always)]
pub(super) fn quick_request() -> Option<&'static mut Request> {
    // SAFETY: as in `count`; any bits are a valid `Request`.
    QUICK.get_ptr_mut(0).map(|request| unsafe { &mut *request })
}

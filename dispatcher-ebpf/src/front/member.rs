//! The member-table's first stage: the priority that a client's address and port allow.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use dispatcher_common::{
    block::{BlockKey, LEVELS, Levels, Search},
    limits::MAX_PRIORITY,
    member::{ANY_PORT, Scope},
    service::flag,
};

use super::{maps, segment::Segment};

/// The highest priority that a request of this client can get. Rules of its port come first.
#[inline(never)]
pub(super) fn ceiling(segment: &Segment<'_>) -> u8 {
    let service = segment.service;
    if service.flags & flag::MEMBERS == 0 {
        return service.priority;
    }
    let mut found = 0;
    if service.flags & flag::MEMBER_PORTS != 0 {
        found = look_up(segment, segment.packet.tuple.client_port_be);
    }
    if found == 0 {
        found = look_up(segment, ANY_PORT);
    }
    if found == 0 { service.priority } else { (found as u8 - 1) & MAX_PRIORITY }
}

/// A look-up on its way from level to level.
#[repr(C)]
struct Walk {
    search: Search,
    left: Levels,
    /// A ceiling plus one, or 0 as long as no rule is found.
    found: u32,
}

/// A ceiling plus one, or 0 if no rule is for the client.
#[inline(never)]
fn look_up(segment: &Segment<'_>, port_be: u16) -> u32 {
    let service = segment.service;
    let scope = Scope { owner: service.owner as u16, generation: service.generation };
    let client = &segment.packet.tuple.client;
    let search = Search::new(scope, port_be, *client);
    let (Some(levels), Some(hint)) = (maps::member_levels(scope), maps::member_hint(search.hint())) else {
        return 0;
    };
    let with_port = port_be != ANY_PORT;
    let left = levels.of(client, with_port).and(hint.levels(with_port));
    if left == Levels::default() {
        return 0;
    }
    let mut walk = Walk { search, left, found: 0 };
    let step: unsafe extern "C" fn(u64, *mut Walk) -> i64 = step;
    // SAFETY: `step` takes an index and what is given here, which outlives the call (Linux 5.17). A loop of our own the verifier
    // would walk once for every level and way.
    unsafe { bpf_loop(LEVELS, step as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.found
}

/// Tries one level; 1 ends the walk.
///
/// # Safety
/// `walk` is valid, and nobody else's.
unsafe extern "C" fn step(_: u64, walk: *mut Walk) -> i64 {
    // SAFETY: by contract.
    let walk = unsafe { &mut *walk };
    let Some((level, left)) = walk.left.split() else { return 1 };
    walk.left = left;
    walk.found = walk.search.ceiling(level, find(&walk.search, &walk.search.key(level)));
    if walk.found != 0 { 1 } else { 0 }
}

/// The ceilings of a block, or 0.
#[inline(always)]
fn find(search: &Search, key: &BlockKey) -> u64 {
    let [home, spare] = search.lines(key);
    let Some(home) = maps::member_line(home) else { return 0 };
    let ceilings = home.find(key);
    if ceilings != 0 || !home.has_spilled() {
        return ceilings;
    }
    maps::member_line(spare).map_or(0, |spare| spare.find(key))
}

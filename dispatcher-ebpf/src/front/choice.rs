//! Stand-in.
use dispatcher_common::class_cache::CachedClass;
use super::{maps, segment::Segment};

#[repr(C)]
pub(super) struct Chosen { pub(super) server: u16, pub(super) outcome: u8, pub(super) work: u64 }

#[inline(always)]
pub(super) fn choose(_segment: &Segment<'_>, cached: &CachedClass) -> Option<Chosen> {
    for server in 0..4u16 {
        let server = (server + (cached.target as u16 & 3)) & 3;
        if maps::server(server)?.usable != 0 { return Some(Chosen { server, outcome: 0, work: 0 }); }
    }
    None
}

#[inline(always)]
pub(super) fn note(_segment: &Segment<'_>, _cached: &CachedClass, _chosen: &Chosen, _priority: u8) {}

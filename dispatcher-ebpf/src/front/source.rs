//! Limits of a source: how many connections it opens a second, and how many it has open. They are counted where addresses are
//! proved, at the first request; a SYN only looks.

use dispatcher_common::{
    admission::{AdmissionEntry, SourceKey, SourceRate},
    service::flag,
};

use super::{clock, maps, segment::Segment};

#[inline(always)]
fn key(segment: &Segment<'_>, entry: &AdmissionEntry) -> SourceKey {
    entry.source(&segment.packet.tuple.client, segment.service.owner)
}

/// Whether the source of a newcomer has reached one of its limits.
#[inline(never)]
pub(super) fn is_limited(segment: &Segment<'_>, entry: &AdmissionEntry) -> bool {
    let key = key(segment, entry);
    if entry.source_interval_ns != 0
        && let Some(rate) = maps::source_rate(&key)
        && !rate.allows(clock::now_ns())
    {
        return true;
    }
    // One that was counted down too often for a moment has none open.
    entry.source_open != 0
        && maps::source_open(&key).is_some_and(|open| open as i64 >= entry.source_open as i64)
}

/// Counts a connection, if its service limits sources.
#[inline(always)]
pub(super) fn count_opened(segment: &Segment<'_>) {
    if segment.service.flags & flag::SOURCE_LIMITS != 0 {
        count(segment);
    }
}

#[inline(never)]
fn count(segment: &Segment<'_>) {
    let Some(entry) = maps::admission(segment.service.owner) else { return };
    let key = key(segment, entry);
    if entry.source_interval_ns != 0 {
        count_rate(&key, entry.source_interval_ns);
    }
    if entry.source_open != 0 && !maps::add_source_open(&key, 1) {
        maps::insert_source_open(&key);
    }
}

#[inline(always)]
fn count_rate(key: &SourceKey, interval_ns: u32) {
    let now_ns = clock::now_ns();
    match maps::source_rate(key) {
        Some(rate) => rate.count(interval_ns, now_ns),
        None => {
            let mut rate = SourceRate::default();
            rate.count(interval_ns, now_ns);
            maps::insert_source_rate(key, &rate);
        }
    }
}

/// Counts down a connection that ends, if its service limits sources.
#[inline(always)]
pub(super) fn count_closed(segment: &Segment<'_>) {
    if segment.service.flags & flag::SOURCE_LIMITS != 0
        && let Some(entry) = maps::admission(segment.service.owner)
        && entry.source_open != 0
    {
        maps::add_source_open(&key(segment, entry), 1_u64.wrapping_neg());
    }
}

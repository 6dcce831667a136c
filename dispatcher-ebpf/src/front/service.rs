//! Services by VIP and port. Each CPU remembers what it found, for the current tick: packets of a service come in bunches, and
//! a compare of three words is a fraction of a look-up in a hash map. A service that changes is noticed within a tick.

use dispatcher_common::{
    limits::MAX_SERVICES,
    service::{ServiceEntry, ServiceKey},
};

use super::{clock, maps};

/// What a CPU remembers, one for each slot.
#[repr(C)]
pub(super) struct Recent {
    tick: u64,
    key: ServiceKey,
    entry: ServiceEntry,
}

/// Slots of a CPU: as many as there can be services, so that few share one.
pub(super) const SLOTS: u32 = MAX_SERVICES as u32;

/// The service of a key.
#[inline(always)]
pub(super) fn find(key: &ServiceKey) -> Option<ServiceEntry> {
    let recent = maps::recent_service(slot(key))?;
    let tick = clock::tick();
    if recent.tick == tick && recent.key == *key {
        return Some(recent.entry);
    }
    look_up(key, recent, tick).then_some(recent.entry)
}

/// Fibonacci hashing of the words in which services differ: the end of the VIP, and the port.
#[inline(always)]
fn slot(key: &ServiceKey) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let [_, end] = key.vip.halves();
    ((end ^ key.port_be() as u64).wrapping_mul(FACTOR) >> (64 - SLOTS.ilog2())) as u32
}

#[inline(never)]
fn look_up(key: &ServiceKey, recent: &mut Recent, tick: u64) -> bool {
    let Some(entry) = maps::service(key) else { return false };
    *recent = Recent { tick, key: *key, entry };
    true
}

//! The member-table's first stage: the priority that a client's address and port allow.

use dispatcher_common::{
    address::Address,
    block::Search,
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

/// A ceiling plus one, or 0 if no rule is for the client.
#[inline(always)]
fn look_up(segment: &Segment<'_>, port_be: u16) -> u32 {
    let service = segment.service;
    let [high, low] = segment.packet.tuple.client.halves();
    let rules = (service.owner as u64) << 32 | (service.generation as u64) << 16 | port_be as u64;
    member_ceiling(high, low, rules)
}

/// The same of a client's halves, and of owner, generation and port in one number. A function that the linker exports takes
/// only numbers, and the verifier walks it once, whoever calls it (Linux 5.6); else it would for every caller and way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn member_ceiling(high: u64, low: u64, rules: u64) -> u32 {
    let scope = Scope { owner: (rules >> 32) as u16 & 0xff, generation: (rules >> 16) as u16 };
    let Some(levels) = maps::member_levels(scope) else { return 0 };
    let search = Search::new(scope, rules as u16, Address::from_halves([high, low]));
    search.look_up(levels, maps::member_marks, maps::member_line)
}

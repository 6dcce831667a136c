//! The member-table's first stage: the priority that a client's address and port allow.

use dispatcher_common::{
    limits::MAX_PRIORITY,
    member::{ANY_PORT, MemberKey, Scope},
    service::flag,
};

use super::{maps, segment::Segment};

/// Bits of an address that a client's key compares: all.
const ALL_BITS: u8 = 128;

/// A key on the stack. There the verifier wants every store aligned to its size, and LLVM joins the address into two halves:
/// they must not lie across eight bytes, so the length of the prefix does not begin them.
#[repr(C, align(8))]
struct Aligned {
    before: u32,
    key: MemberKey,
}

/// The highest priority that a request of this client can get.
#[inline(never)]
pub(super) fn ceiling(segment: &Segment<'_>) -> u8 {
    let service = segment.service;
    if service.flags & flag::MEMBERS == 0 {
        return service.priority;
    }
    let by_port = service.flags & flag::MEMBER_PORTS != 0;
    let port_be = segment.packet.tuple.client_port_be;
    let ceiling = if by_port { look_up(segment, port_be) } else { NONE };
    match if ceiling == NONE { look_up(segment, ANY_PORT) } else { ceiling } {
        NONE => service.priority,
        ceiling => ceiling,
    }
}

/// No entry.
const NONE: u8 = MAX_PRIORITY + 1;

#[inline(never)]
fn look_up(segment: &Segment<'_>, port_be: u16) -> u8 {
    let service = segment.service;
    let scope = Scope { owner: service.owner as u16, generation: service.generation };
    let key = MemberKey::new(scope, port_be, segment.packet.tuple.client, ALL_BITS);
    match maps::member(&Aligned { before: 0, key }.key) {
        Some(entry) => entry.ceiling & MAX_PRIORITY,
        None => NONE,
    }
}

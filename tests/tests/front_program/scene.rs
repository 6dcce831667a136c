//! Admission around a case: what the service's entry says, limits and counts, rules, sources.

use std::net::IpAddr;

use dispatcher_common::{
    address::Address,
    admission::{AdmissionEntry, NONE_READY, PriorityStats, SourceKey, SourceRate},
    limits::PRIORITIES,
    member::{MemberKey, Scope},
    service::{ServiceEntry, flag},
};

use crate::{
    program::{PRIORITY, service_id},
    segment::Family,
};

/// Configured service of both families' VIPs.
pub(crate) const OWNER: u8 = 2;
/// Generation of its rules.
pub(crate) const GENERATION: u16 = 9;
/// Open flows of each priority before a case.
pub(crate) const OPEN: u64 = 3;

/// What admission knows when the packet comes.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) flags: u8,
    pub(crate) gate: u8,
    pub(crate) priority: u8,
    pub(crate) entry: AdmissionEntry,
    pub(crate) members: Vec<(MemberKey, u8)>,
    /// Of the client's source.
    pub(crate) rate: Option<SourceRate>,
    /// Of the client's source.
    pub(crate) source_open: Option<u64>,
}

impl Default for Scene {
    /// A service without admission, of which some flows are open.
    fn default() -> Self {
        Self {
            flags: 0,
            gate: 0,
            priority: PRIORITY,
            entry: AdmissionEntry {
                limit: u64::MAX,
                lowest_ready: NONE_READY,
                open: [OPEN; PRIORITIES],
                source_masks: ["255.255.255.0", "ffff:ffff:ffff::"]
                    .map(|mask| Address::from(mask.parse::<IpAddr>().unwrap()).halves()),
                ..AdmissionEntry::default()
            },
            members: Vec::new(),
            rate: None,
            source_open: None,
        }
    }
}

impl Scene {
    /// Admission of a service that is not overloaded.
    pub(crate) fn quiet() -> Self {
        Self { flags: flag::ADMISSION, ..Self::default() }
    }

    /// A service at its limit, whose lowest open flows have this priority.
    pub(crate) fn overloaded(lowest: u8, way: u8) -> Self {
        let mut scene = Self::quiet();
        scene.entry.open = std::array::from_fn(|priority| if priority < lowest.into() { 0 } else { OPEN });
        scene.entry.limit = scene.entry.total();
        scene.entry.ways[PRIORITY as usize] = way;
        scene
    }

    /// A service that limits sources; none is known.
    pub(crate) fn limited(way: u8) -> Self {
        let mut scene = Self { flags: flag::SOURCE_LIMITS, ..Self::default() };
        scene.entry.source_way = way;
        scene.entry.source_interval_ns = 50_000_000;
        scene.entry.source_open = 20;
        scene
    }

    /// With a rule for clients in a prefix (bits of the 128) and with a port, or any.
    pub(crate) fn with_rule(self, prefix: IpAddr, bits: u8, port: u16, ceiling: u8) -> Self {
        self.with_rule_of(GENERATION, prefix, bits, port, ceiling)
    }

    pub(crate) fn with_rule_of(
        mut self,
        generation: u16,
        prefix: IpAddr,
        bits: u8,
        port: u16,
        ceiling: u8,
    ) -> Self {
        let scope = Scope { owner: OWNER.into(), generation };
        let (port_be, address) = (port.to_be(), prefix.into());
        self.members.push((MemberKey { scope, port_be, address, prefix_bits: bits }, ceiling));
        self.flags |= flag::MEMBERS | if port == 0 { 0 } else { flag::MEMBER_PORTS };
        self
    }

    pub(crate) fn service(&self, family: Family) -> ServiceEntry {
        ServiceEntry {
            id: service_id(family),
            generation: GENERATION,
            owner: OWNER,
            priority: self.priority,
            gate: self.gate,
            flags: self.flags,
        }
    }

    /// The client's source.
    pub(crate) fn source(&self, family: Family) -> SourceKey {
        self.entry.source(&family.client().into(), OWNER)
    }
}

fn combined(a: &PriorityStats, b: &PriorityStats, with: fn(u64, u64) -> u64) -> PriorityStats {
    PriorityStats {
        refused_syn: with(a.refused_syn, b.refused_syn),
        refused_first: with(a.refused_first, b.refused_first),
        refused_kept: with(a.refused_kept, b.refused_kept),
        limited: with(a.limited, b.limited),
        answered: with(a.answered, b.answered),
        wait_ns: with(a.wait_ns, b.wait_ns),
    }
}

pub(crate) fn sum(a: &PriorityStats, b: &PriorityStats) -> PriorityStats {
    combined(a, b, u64::wrapping_add)
}

/// What moved.
pub(crate) fn difference(after: &PriorityStats, before: &PriorityStats) -> PriorityStats {
    combined(after, before, u64::wrapping_sub)
}

//! Admission: who is let in while a service is overloaded (Fig. 3 of the paper), from numbers that the data plane keeps without
//! looking at its flows. Who gives way, and when a service is overloaded, is the control plane's business.

use crate::{address::Address, limits::PRIORITIES};

/// Ways to say no.
pub mod way {
    /// A RST at once.
    pub const RESET: u8 = 0;
    /// Silence: the client tries again by itself.
    pub const DROP: u8 = 1;
    /// An HTTP response with status 503 to the first request; the handshake is answered.
    pub const RESPOND: u8 = 2;

    /// Name of a way in configurations and listings.
    #[must_use]
    pub const fn name(way: u8) -> &'static str {
        match way {
            RESET => "reset",
            DROP => "drop",
            RESPOND => "503",
            _ => "unknown",
        }
    }
}

/// [`AdmissionEntry::lowest_ready`] when nobody can give way.
pub const NONE_READY: u8 = PRIORITIES as u8;

/// Admission of one configured service. The first cache line is written by the control plane only, the second by everyone who
/// opens or closes a flow.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionEntry {
    /// Most open flows; `u64::MAX` without a limit.
    pub limit: u64,
    /// 1 while the service is overloaded for all priorities for another reason: a server's signal.
    pub overloaded: u32,
    /// Nanoseconds between two new connections of a source, on average over a second; 0 without a limit.
    pub source_interval_ns: u32,
    /// Most open flows of a source; 0 without a limit.
    pub source_open: u32,
    /// One of [`way`], for sources above their limits.
    pub source_way: u8,
    /// Lowest priority, adjusted, of a flow that is ready to give way; [`NONE_READY`] if none is.
    pub lowest_ready: u8,
    /// The service is overloaded by load for priorities below this one: the load that is too much for a priority grows with it.
    pub closed_below: u8,
    /// Kept zero.
    pub reserved: u8,
    /// One of [`way`] for each priority.
    pub ways: [u8; PRIORITIES],
    /// What of an address makes a source, as halves, for mapped IPv4 addresses and for IPv6.
    pub source_masks: [[u64; 2]; 2],
    /// Established flows by priority. Signed in effect: it may be off for a moment, never for long.
    pub open: [u64; PRIORITIES],
}

const _: () = assert!(size_of::<AdmissionEntry>() == 128);

/// What Fig. 3 says of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// There is room.
    Admit,
    /// In the place of a flow with this priority or a lower one.
    Evict(u8),
    /// Nobody of lower priority is there.
    Refuse,
}

impl AdmissionEntry {
    /// Flows open now.
    #[inline(always)]
    #[must_use]
    pub fn total(&self) -> u64 {
        self.open.iter().fold(0_u64, |total, open| total.wrapping_add(*open))
    }

    /// Lowest priority of an open flow, or of one that is ready to give way; [`NONE_READY`] if there is none.
    #[inline(always)]
    #[must_use]
    pub fn lowest(&self) -> u8 {
        let mut lowest = self.lowest_ready;
        let mut priority = PRIORITIES as u8;
        for open in self.open.iter().rev() {
            priority -= 1;
            // One that was counted down twice for a moment is not open.
            if *open as i64 > 0 && priority < lowest {
                lowest = priority;
            }
        }
        lowest
    }

    /// Whether all newcomers must be better than others.
    #[inline(always)]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.overloaded != 0 || self.total() as i64 >= self.limit as i64 && self.limit != u64::MAX
    }

    /// Whether newcomers of some priority must be better than others.
    #[inline(always)]
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.closed_below != 0 || self.is_full()
    }

    /// Judges a newcomer. Equals never make room for each other, and when nobody is there at all, nobody is in the way.
    #[inline(always)]
    #[must_use]
    pub fn judge(&self, priority: u8) -> Ruling {
        if priority >= self.closed_below && !self.is_full() {
            return Ruling::Admit;
        }
        match self.lowest() {
            NONE_READY => Ruling::Admit,
            lowest if lowest < priority => Ruling::Evict(lowest),
            _ => Ruling::Refuse,
        }
    }

    /// Whether every refusal is an HTTP response, which the kernel's program does not make.
    #[inline(always)]
    #[must_use]
    pub fn only_responds(&self) -> bool {
        u64::from_ne_bytes(self.ways) == u64::from_ne_bytes([way::RESPOND; PRIORITIES])
    }

    /// How to say no to this priority.
    #[inline(always)]
    #[must_use]
    pub fn way(&self, priority: u8) -> u8 {
        self.ways[priority as usize % PRIORITIES]
    }

    /// The source that an address belongs to.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, client: &Address, owner: u8) -> SourceKey {
        let [first, second] = self.source_masks[if client.is_ipv4() { 0 } else { 1 }];
        let [high, low] = client.halves();
        SourceKey { prefix: Address::from_halves([high & first, low & second]), owner: owner as u64 }
    }
}

/// A source: clients that share a prefix, at one configured service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    pub prefix: Address,
    pub owner: u64,
}

const _: () = assert!(size_of::<SourceKey>() == 24);

/// How quickly a source opens connections: when the next one would be on time (generic cell rate algorithm), in nanoseconds of
/// the kernel's coarse monotonic clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceRate {
    pub next_ns: u64,
}

/// A source may be ahead of its rate by so much.
pub const SOURCE_BURST_NS: u64 = 1_000_000_000;

impl SourceRate {
    /// Whether another connection would be within the rate.
    #[inline(always)]
    #[must_use]
    pub fn allows(&self, now_ns: u64) -> bool {
        self.next_ns <= now_ns.wrapping_add(SOURCE_BURST_NS)
    }

    /// Counts a connection.
    #[inline(always)]
    pub fn count(&mut self, interval_ns: u32, now_ns: u64) {
        let from = if self.next_ns > now_ns { self.next_ns } else { now_ns };
        self.next_ns = from.wrapping_add(interval_ns as u64);
    }
}

/// What became of the flows of one configured service and priority, on one CPU; index `owner * PRIORITIES + priority`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriorityStats {
    /// SYNs refused.
    pub refused_syn: u64,
    /// First requests refused by the kernel's program.
    pub refused_first: u64,
    /// Requests on kept connections refused, retries of dropped ones included.
    pub refused_kept: u64,
    /// SYNs and first requests refused because their source is over its limits.
    pub limited: u64,
    /// Requests whose response began to arrive at the client: the goodput.
    pub answered: u64,
    /// Sum over these of the time from request to response, as the client's acknowledgements show it.
    pub wait_ns: u64,
}

const _: () = assert!(size_of::<PriorityStats>() == 48);

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn entry(limit: u64, overloaded: bool, open: [u64; PRIORITIES]) -> AdmissionEntry {
        let overloaded = u32::from(overloaded);
        AdmissionEntry { limit, overloaded, lowest_ready: NONE_READY, open, ..AdmissionEntry::default() }
    }

    #[test]
    fn below_the_limit_everyone_comes_in_and_at_it_only_the_better() {
        let open = [0, 0, 1, 0, 0, 1, 0, 2];
        for priority in 0..8 {
            assert_eq!(entry(5, false, open).judge(priority), Ruling::Admit);
            let expected = if priority > 2 { Ruling::Evict(2) } else { Ruling::Refuse };
            assert_eq!(entry(4, false, open).judge(priority), expected);
            assert_eq!(entry(u64::MAX, true, open).judge(priority), expected);
        }
    }

    #[test]
    fn load_closes_the_door_to_low_priorities_first() {
        let by_load = AdmissionEntry { closed_below: 3, ..entry(u64::MAX, false, [0, 1, 0, 0, 1, 0, 0, 0]) };
        assert!(by_load.is_overloaded() && !by_load.is_full());
        assert_eq!(by_load.judge(1), Ruling::Refuse);
        assert_eq!(by_load.judge(2), Ruling::Evict(1));
        assert_eq!(by_load.judge(3), Ruling::Admit);
        let full = AdmissionEntry { overloaded: 1, ..by_load };
        assert_eq!(full.judge(3), Ruling::Evict(1));
    }

    #[test]
    fn one_other_way_is_enough_to_ask_the_program() {
        let mut entry = AdmissionEntry { ways: [way::RESPOND; PRIORITIES], ..AdmissionEntry::default() };
        assert!(entry.only_responds());
        entry.ways[7] = way::DROP;
        assert!(!entry.only_responds());
    }

    #[test]
    fn an_empty_table_is_in_nobodys_way() {
        assert_eq!(entry(0, true, [0; PRIORITIES]).judge(0), Ruling::Admit);
    }

    #[test]
    fn a_count_below_zero_is_nobody() {
        let open = [u64::MAX, 0, 0, 2, 0, 0, 0, 0];
        assert_eq!(entry(2, false, open).judge(3), Ruling::Admit, "one open in sum");
        assert_eq!(entry(1, false, open).judge(1), Ruling::Refuse);
        assert_eq!(entry(1, false, open).judge(4), Ruling::Evict(3));
    }

    #[test]
    fn a_flow_that_was_lowered_makes_room_for_its_equals_by_birth() {
        let lowered = AdmissionEntry { lowest_ready: 4, ..entry(1, false, [0, 0, 0, 0, 0, 1, 0, 0]) };
        assert_eq!(lowered.judge(5), Ruling::Evict(4));
        assert_eq!(lowered.judge(4), Ruling::Refuse);
    }

    #[test]
    fn sources_are_prefixes_of_either_family() {
        let entry = AdmissionEntry {
            source_masks: [
                Address::from("255.255.255.0".parse::<IpAddr>().unwrap()).halves(),
                Address::from("ffff:ffff:ffff::".parse::<IpAddr>().unwrap()).halves(),
            ],
            ..AdmissionEntry::default()
        };
        for (client, prefix) in [("198.18.7.9", "198.18.7.0"), ("2001:db8:1:2::3", "2001:db8:1::")] {
            let key = entry.source(&client.parse::<IpAddr>().unwrap().into(), 3);
            assert_eq!((IpAddr::from(key.prefix).to_string(), key.owner), (prefix.to_owned(), 3));
        }
    }

    proptest! {
        #[test]
        fn a_source_gets_its_rate_and_a_second_of_burst(
            rate in 1_u32..1000, arrivals in proptest::collection::vec(0_u64..50_000_000, 1..2000),
        ) {
            let interval_ns = 1_000_000_000 / rate;
            let (mut source, mut now_ns, mut admitted) = (SourceRate::default(), 1 << 40, 0_u64);
            let start_ns = now_ns;
            for gap_ns in arrivals {
                now_ns += gap_ns;
                if source.allows(now_ns) {
                    source.count(interval_ns, now_ns);
                    admitted += 1;
                }
            }
            let most = (now_ns - start_ns + SOURCE_BURST_NS) / u64::from(interval_ns) + 1;
            prop_assert!(admitted <= most, "{admitted} of {most}");
        }
    }
}

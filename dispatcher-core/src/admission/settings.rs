//! Settings of admission and their defaults, each with its reason. Owns what of them the data plane must know; reading them
//! from a file is `config`'s business.

use std::time::Duration;

use dispatcher_common::{
    admission::{AdmissionEntry, NONE_READY, way},
    limits::PRIORITIES,
};

use crate::{
    address::{self, MAPPED_BITS},
    ids::Priority,
    policy::LoadThreshold,
};

/// Most open flows of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionLimit {
    /// Any number. The default: kept connections that do nothing count too, so no number suits every service.
    #[default]
    None,
    /// So many.
    Fixed(u32),
    /// S = (N − 1) · T_high + T_low − 1, with N eligible servers.
    Paper,
}

/// How to say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// A RST at once.
    Reset,
    /// Silence: the client tries again by itself.
    Drop,
    /// Status 503 with `Retry-After`. The default: people and programs understand it, and proxies pass it on.
    #[default]
    Respond,
}

impl Way {
    /// The number in maps, one of [`way`].
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Reset => way::RESET,
            Self::Drop => way::DROP,
            Self::Respond => way::RESPOND,
        }
    }
}

/// Admission of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Most open flows.
    pub limit: ConnectionLimit,
    /// T_high of [`ConnectionLimit::Paper`], in connections a server. 65, the paper's.
    pub t_high: u32,
    /// T_low of [`ConnectionLimit::Paper`]. 55, the paper's.
    pub t_low: u32,
    /// Overloaded when T of every server is above. 96 requests: twice the usual T_load, up to which dispatching evens the servers
    /// out, so that all of them are deep in work.
    pub load_bound: Option<LoadThreshold>,
    /// So much of the bound, in percent, is kept from the lowest priority, and less from those between. 50: what the others send into
    /// a queue before they are refused then leaves the highest half of it.
    pub load_reserve_percent: u8,
    /// Overloaded when the CPUs of every server are in use to so many percent. None: full use alone delays nobody.
    pub cpu_percent: Option<u8>,
    /// Overloaded when queues of listeners overflow on every server. True: it happens only when requests are lost already.
    pub listen_overflows: bool,
    /// How far below its bound a measure must fall for the overload to end. 20: more than the load moves from one report to the
    /// next.
    pub hysteresis_percent: u8,
    /// How long a server's signal counts. 1 s: ten reports.
    pub hold: Duration,
    /// How to say no, by priority.
    pub ways: [Way; PRIORITIES],
    /// `Retry-After` of a 503, whole seconds. 5 s: longer than `hold`.
    pub retry_after: Duration,
    /// Who may be evicted, and how many.
    pub eviction: EvictionSettings,
    /// How priorities of flows are adjusted.
    pub adjusting: AdjustSettings,
    /// Limits of each source.
    pub sources: SourceLimits,
}

/// Guard rails of evictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictionSettings {
    /// A kept connection is idle when the client has had a response and has been silent for so long. 1 s: a client that takes
    /// in a response acknowledges it more often.
    pub idle_after: Duration,
    /// No younger flow is evicted. 250 ms: its client has at least seen that it is connected, and nobody is let in only to be
    /// thrown out.
    pub min_age: Duration,
    /// Whether flows may be evicted while a response is on its way. False: its client would get a part of it.
    pub mid_response: bool,
    /// Most evictions in a second, on average over a second; 0 for none. 1000: a storm of good clients does not throw out all
    /// others at once.
    pub per_second: u32,
    /// The same on behalf of the newcomers of one prefix. 100: nor does one network.
    pub per_source: u32,
    /// Bits of an IPv4 address that make such a prefix. 24: the smallest that is routed on the Internet.
    pub prefix_ipv4: u8,
    /// The same for IPv6. 48: a usual site.
    pub prefix_ipv6: u8,
}

/// How the priorities of flows are adjusted while the service is overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdjustSettings {
    /// Most levels that silence lowers a flow. 0: equals by birth never evict each other.
    pub idle_levels: u8,
    /// Silence for each level. 10 s.
    pub idle_step: Duration,
    /// Most levels that waiting for a response raises a flow. 0.
    pub delay_levels: u8,
    /// Waiting for each level. 1 s.
    pub delay_step: Duration,
}

/// Limits of each source: the clients of one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimits {
    /// New connections a second, on average over a second; 0 without a limit, the default.
    pub connections_per_second: u32,
    /// Open connections; 0 without a limit, the default.
    pub open_connections: u32,
    /// Bits of an IPv4 address that make a source. 32: an address.
    pub prefix_ipv4: u8,
    /// The same for IPv6. 64: a link, as a host may take any address of it.
    pub prefix_ipv6: u8,
    /// How to say no. Drop: a client that is a little too quick comes a second later by itself, and a SYN with a forged source
    /// makes us send nothing.
    pub way: Way,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            limit: ConnectionLimit::None,
            t_high: 65,
            t_low: 55,
            load_bound: Some(LoadThreshold::Requests(96)),
            load_reserve_percent: 50,
            cpu_percent: None,
            listen_overflows: true,
            hysteresis_percent: 20,
            hold: Duration::from_secs(1),
            ways: [Way::default(); PRIORITIES],
            retry_after: Duration::from_secs(5),
            eviction: EvictionSettings::default(),
            adjusting: AdjustSettings::default(),
            sources: SourceLimits::default(),
        }
    }
}

impl Default for EvictionSettings {
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(1),
            min_age: Duration::from_millis(250),
            mid_response: false,
            per_second: 1000,
            per_source: 100,
            prefix_ipv4: 24,
            prefix_ipv6: 48,
        }
    }
}

impl Default for AdjustSettings {
    fn default() -> Self {
        Self {
            idle_levels: 0,
            idle_step: Duration::from_secs(10),
            delay_levels: 0,
            delay_step: Duration::from_secs(1),
        }
    }
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            connections_per_second: 0,
            open_connections: 0,
            prefix_ipv4: 32,
            prefix_ipv6: 64,
            way: Way::Drop,
        }
    }
}

impl AdmissionSettings {
    /// How to say no to `priority`.
    #[must_use]
    pub fn way(&self, priority: Priority) -> Way {
        self.ways[usize::from(priority.get())]
    }

    /// What the data plane is told at first: everything that does not change, no limit, nobody open.
    #[must_use]
    pub fn entry(&self) -> AdmissionEntry {
        AdmissionEntry {
            limit: u64::MAX,
            source_interval_ns: self.sources.interval_ns(),
            source_open: self.sources.open_connections,
            source_way: self.sources.way.code(),
            lowest_ready: NONE_READY,
            ways: self.ways.map(Way::code),
            source_masks: self.sources.masks(),
            ..AdmissionEntry::default()
        }
    }
}

impl SourceLimits {
    /// Whether there are any.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.connections_per_second > 0 || self.open_connections > 0
    }

    /// Nanoseconds between two new connections, 0 without a limit.
    #[must_use]
    pub fn interval_ns(&self) -> u32 {
        1_000_000_000_u32.checked_div(self.connections_per_second).unwrap_or(0)
    }

    /// What of an address makes a source, for mapped IPv4 addresses and for IPv6.
    fn masks(&self) -> [[u64; 2]; 2] {
        let halves = |len| address::in_packet(address::mask(len)).halves();
        [halves(MAPPED_BITS.saturating_add(self.prefix_ipv4)), halves(self.prefix_ipv6)]
    }
}

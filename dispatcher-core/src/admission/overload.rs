//! Whether a service is overloaded, from its servers' loads and signals, and the limit of its connections. Owns the hysteresis;
//! counting connections against the limit is [`AdmissionEntry`]'s.
//!
//! All causes want it of *every* eligible server: while one of them has room, it is for the policy to use it, and one server that
//! is broken must not close the service. Nobody is eligible: not overloaded, as nobody is to be protected.
//!
//! Load closes the door to low priorities first. Each has a bound of its own, lower for lower ones: what load the others make
//! stays below the bound of the higher, and those find room without anybody having to go. With one bound for all, a service
//! full of the high priority would refuse the high until the load is down by the hysteresis, and then take in all that come.

use std::time::Duration;

use dispatcher_common::{
    admission::{AdmissionEntry, NONE_READY},
    limits::{MAX_PRIORITY, MAX_SERVERS},
};

use super::{AdmissionSettings, ConnectionLimit};
use crate::{
    cluster::{Server, ServerView},
    policy::LoadThreshold,
};

/// Why a service is overloaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes {
    /// As many connections are open as may be.
    pub connections: bool,
    /// T of every server is above the bound of some priority.
    pub load: bool,
    /// The CPUs of every server are busy.
    pub cpu: bool,
    /// Queues of listeners have overflown on every server.
    pub listen_overflows: bool,
}

impl Causes {
    fn any(self) -> bool {
        self.connections || self.load || self.cpu || self.listen_overflows
    }
}

/// How overloaded a service is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// For any cause.
    pub overloaded: bool,
    /// Which causes.
    pub causes: Causes,
    /// Load is a cause for priorities below this one.
    pub closed_below: u8,
}

impl Pressure {
    /// With what the count of open flows says, which [`Overload::observe`] does not know.
    #[must_use]
    pub fn with_connections(self, entry: &AdmissionEntry) -> Self {
        let connections = AdmissionEntry { overloaded: 0, ..*entry }.is_full();
        let causes = Causes { connections, ..self.causes };
        Self { overloaded: causes.any(), causes, ..self }
    }
}

/// The overload of one service.
#[derive(Debug, Clone)]
pub struct Overload {
    limit: ConnectionLimit,
    t_high: u32,
    t_low: u32,
    load_bound: Option<LoadThreshold>,
    load_reserve_percent: u32,
    cpu_permille: Option<u16>,
    watches_overflows: bool,
    hysteresis_percent: u32,
    hold: Duration,
    /// Load is too much for priorities below this one.
    closed_below: u8,
    cpu: bool,
    /// Until when `cpu` stays, whatever servers say.
    cpu_until: Duration,
    /// By server.
    overflows: Vec<Option<Overflows>>,
}

/// What one server has said of its listeners.
#[derive(Debug, Clone, Copy)]
struct Overflows {
    boot_id: u64,
    count: u64,
    grown_at: Option<Duration>,
}

impl Overload {
    /// Not overloaded.
    #[must_use]
    pub fn new(settings: &AdmissionSettings) -> Self {
        Self {
            limit: settings.limit,
            t_high: settings.t_high,
            t_low: settings.t_low,
            load_bound: settings.load_bound,
            load_reserve_percent: settings.load_reserve_percent.min(100).into(),
            cpu_permille: settings.cpu_percent.map(|percent| u16::from(percent) * 10),
            watches_overflows: settings.listen_overflows,
            hysteresis_percent: settings.hysteresis_percent.min(100).into(),
            hold: settings.hold,
            closed_below: 0,
            cpu: false,
            cpu_until: Duration::ZERO,
            overflows: vec![None; MAX_SERVERS],
        }
    }

    /// Looks at the servers. Call it before every decision.
    pub fn observe(&mut self, servers: &ServerView<'_>, now: Duration) -> Pressure {
        let listen_overflows = self.watches_overflows && self.observe_overflows(servers, now);
        if servers.iter().next().is_none() {
            (self.closed_below, self.cpu) = (0, false);
            return Pressure::default();
        }
        self.observe_load(servers);
        self.observe_cpu(servers, now);
        let load = self.closed_below > 0;
        let causes = Causes { connections: false, load, cpu: self.cpu, listen_overflows };
        Pressure { overloaded: causes.any(), causes, closed_below: self.closed_below }
    }

    /// Most open flows with so many eligible servers; `u64::MAX` without a limit.
    #[must_use]
    pub fn limit(&self, eligible: usize) -> u64 {
        let (eligible, t_high, t_low) = (eligible as u64, u64::from(self.t_high), u64::from(self.t_low));
        match self.limit {
            ConnectionLimit::None => u64::MAX,
            ConnectionLimit::Fixed(limit) => limit.into(),
            ConnectionLimit::Paper if eligible == 0 => 0,
            ConnectionLimit::Paper => ((eligible - 1) * t_high + t_low).saturating_sub(1),
        }
    }

    /// The lowest load that is too much for some priority; `None` if no load is.
    #[must_use]
    pub fn lowest_bound(&self, servers: &ServerView<'_>) -> Option<Duration> {
        self.load_bound.map(|bound| self.bound_of(0, bound.work(servers)))
    }

    /// The least loaded server decides: all are above the bound when it is, and one is below when it is.
    fn observe_load(&mut self, servers: &ServerView<'_>) {
        let least = servers.iter().map(Server::load).min();
        let (Some(bound), Some(least)) = (self.load_bound, least) else { return };
        let bound = bound.work(servers);
        while self.closed_below < NONE_READY && least > self.bound_of(self.closed_below, bound) {
            self.closed_below += 1;
        }
        while self.closed_below > 0 && least < self.end_of(self.closed_below - 1, bound) {
            self.closed_below -= 1;
        }
    }

    /// The load that is too much for a priority: all of the bound for the highest, the reserve less for the lowest, evenly between.
    fn bound_of(&self, priority: u8, bound: Duration) -> Duration {
        let highest = u32::from(MAX_PRIORITY);
        let below = highest - u32::from(priority.min(MAX_PRIORITY));
        bound * (100 * highest - self.load_reserve_percent * below) / (100 * highest)
    }

    /// The load below which it is not any more.
    fn end_of(&self, priority: u8, bound: Duration) -> Duration {
        self.bound_of(priority, bound) * (100 - self.hysteresis_percent) / 100
    }

    fn observe_cpu(&mut self, servers: &ServerView<'_>, now: Duration) {
        let Some(bound) = self.cpu_permille else { return };
        let permille = |server: &Server| server.last_report().map_or(0, |report| report.cpu_permille);
        let least = servers.iter().map(permille).min().unwrap_or(0);
        if least >= bound {
            (self.cpu, self.cpu_until) = (true, now + self.hold);
        } else if now >= self.cpu_until {
            let leave = u32::from(bound) * (100 - self.hysteresis_percent) / 100;
            self.cpu &= u32::from(least) >= leave;
        }
    }

    /// Whether every eligible server's counter has grown within `hold`.
    fn observe_overflows(&mut self, servers: &ServerView<'_>, now: Duration) -> bool {
        let mut all = true;
        for server in servers.iter() {
            let Some(report) = server.last_report() else {
                all = false;
                continue;
            };
            let fresh = Overflows { boot_id: report.boot_id, count: report.listen_overflows, grown_at: None };
            let Some(known) = self.overflows.get_mut(server.id().index()) else { continue };
            let known = known.get_or_insert(fresh);
            if known.boot_id != fresh.boot_id {
                *known = fresh;
            } else if known.count < fresh.count {
                (known.count, known.grown_at) = (fresh.count, Some(now));
            }
            all &= known.grown_at.is_some_and(|at| now < at + self.hold);
        }
        all
    }
}

/// The gate for requests on kept connections, see [`ServiceEntry::gate`]. Load closes it as it closes the door, though to the
/// highest priority that has open flows only when there are no others: they must give way first. For any other cause only the lowest
/// that has open flows is refused, and not if it is also the highest: somebody must be served.
///
/// [`ServiceEntry::gate`]: dispatcher_common::service::ServiceEntry::gate
#[must_use]
pub fn gate(entry: &AdmissionEntry) -> u8 {
    let mut open = (0..NONE_READY).filter(|&level| entry.open[usize::from(level)] as i64 > 0);
    match (open.next(), open.next_back()) {
        (Some(lowest), Some(highest)) => {
            let full = if entry.is_full() { lowest + 1 } else { 0 };
            full.max(entry.closed_below.min(highest))
        }
        (Some(_), None) => entry.closed_below,
        _ => 0,
    }
}

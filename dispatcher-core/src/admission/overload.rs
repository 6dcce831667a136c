//! Whether a service is overloaded, from its servers' loads and signals, and the limit of its connections. Owns the hysteresis;
//! counting connections against the limit is [`AdmissionEntry`]'s.
//!
//! All causes want it of *every* eligible server: while one of them has room, it is for the policy to use it, and one server that
//! is broken must not close the service. Nobody is eligible: not overloaded, as nobody is to be protected.

use std::time::Duration;

use dispatcher_common::{
    admission::{AdmissionEntry, NONE_READY},
    limits::MAX_SERVERS,
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
    /// T of every server is above the bound.
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
}

impl From<Causes> for Pressure {
    fn from(causes: Causes) -> Self {
        Self { overloaded: causes.any(), causes }
    }
}

impl Pressure {
    /// With what the count of open flows says, which [`Overload::observe`] does not know.
    #[must_use]
    pub fn with_connections(self, entry: &AdmissionEntry) -> Self {
        let connections = AdmissionEntry { overloaded: 0, ..*entry }.is_overloaded();
        Causes { connections, ..self.causes }.into()
    }
}

/// The overload of one service.
#[derive(Debug, Clone)]
pub struct Overload {
    limit: ConnectionLimit,
    t_high: u32,
    t_low: u32,
    load_bound: Option<LoadThreshold>,
    cpu_permille: Option<u16>,
    watches_overflows: bool,
    hysteresis_percent: u32,
    hold: Duration,
    load: bool,
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
            cpu_permille: settings.cpu_percent.map(|percent| u16::from(percent) * 10),
            watches_overflows: settings.listen_overflows,
            hysteresis_percent: settings.hysteresis_percent.min(100).into(),
            hold: settings.hold,
            load: false,
            cpu: false,
            cpu_until: Duration::ZERO,
            overflows: vec![None; MAX_SERVERS],
        }
    }

    /// Looks at the servers. Call it before every decision.
    pub fn observe(&mut self, servers: &ServerView<'_>, now: Duration) -> Pressure {
        let listen_overflows = self.watches_overflows && self.observe_overflows(servers, now);
        if servers.iter().next().is_none() {
            (self.load, self.cpu) = (false, false);
            return Pressure::default();
        }
        self.observe_load(servers);
        self.observe_cpu(servers, now);
        Causes { connections: false, load: self.load, cpu: self.cpu, listen_overflows }.into()
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

    /// The least loaded server decides: all are above the bound when it is, and one is below when it is.
    fn observe_load(&mut self, servers: &ServerView<'_>) {
        let least = servers.iter().map(Server::load).min();
        let (Some(bound), Some(least)) = (self.load_bound, least) else { return };
        let bound = bound.work(servers);
        let leave = bound * (100 - self.hysteresis_percent) / 100;
        self.load = if self.load { least >= leave } else { least > bound };
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

/// The gate for requests on kept connections, see [`ServiceEntry::gate`]: while the service is overloaded, the lowest priority
/// that has open flows is refused, unless it is also the highest: somebody must be served.
///
/// [`ServiceEntry::gate`]: dispatcher_common::service::ServiceEntry::gate
#[must_use]
pub fn gate(entry: &AdmissionEntry) -> u8 {
    let mut open = (0..NONE_READY).filter(|&level| entry.open[usize::from(level)] as i64 > 0);
    match (open.next(), open.next_back()) {
        (Some(lowest), Some(_)) if entry.is_overloaded() => lowest + 1,
        _ => 0,
    }
}

//! The model of the cluster: what every server holds, by its reports and by our own dispatches since. Owns
//! freshness of reports, silence, service times; chooses nothing.

mod freshness;
mod outstanding;
mod server;
mod service_time;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::HashMap, time::Duration};

use freshness::Succession;
use service_time::ServiceTimes;

use crate::{
    ids::{ClassId, ServerId},
    report::Report,
};

pub use freshness::{MAX_CLOCK_DIFFERENCE_MS, ReportRefused};
pub use server::{Health, Server};
pub use view::ServerView;

/// Periods without a report after which a server gets no new flows.
pub const SILENT_PERIODS: u32 = 3;

/// All servers of a front-end.
#[derive(Debug, Clone)]
pub struct Cluster {
    servers: Vec<Server>,
    by_name: HashMap<String, ServerId>,
    times: ServiceTimes,
    period: Duration,
}

/// What a report changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Whose report it was.
    pub server: ServerId,
    /// The host has booted since its report before: its sockets, and so its filters, are gone.
    pub rebooted: bool,
    /// The server was silent until now.
    pub returned: bool,
    /// Classes of which the server held something before or holds something now.
    pub classes: Vec<ClassId>,
}

impl Cluster {
    /// Servers get their ids in the order of `names`. `class_count` counts the classes of all services; `period` is
    /// the interval at which servers report.
    pub fn new(names: impl IntoIterator<Item = String>, class_count: usize, period: Duration) -> Self {
        let servers: Vec<_> = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| Server::new(ServerId(i as u16), name, class_count))
            .collect();
        let by_name = servers.iter().map(|server| (server.name().to_owned(), server.id())).collect();
        let times = ServiceTimes::new(servers.len(), class_count);
        Self { servers, by_name, times, period }
    }

    /// All servers, by id.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// One server.
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.index())
    }

    /// The eligible ones among `members`, which must be in ascending order.
    #[must_use]
    pub fn view<'a>(&'a self, members: &'a [ServerId]) -> ServerView<'a> {
        ServerView::new(self, members)
    }

    /// Takes a report that [`Report::decode`] found genuine. `now_wall_ms` is our wall clock in ms since 1970.
    ///
    /// # Errors
    /// When the server is unknown, or the report a replay, overtaken by a newer one, or of another time.
    pub fn accept(
        &mut self,
        report: &Report,
        now: Duration,
        now_wall_ms: u64,
    ) -> Result<Accepted, ReportRefused> {
        let id = *self
            .by_name
            .get(&report.server)
            .ok_or_else(|| ReportRefused::UnknownServer(report.server.clone()))?;
        let server = &mut self.servers[id.index()];
        let succession = server.freshness.admit(report, now_wall_ms)?;
        let included = match succession {
            Succession::SameBoot { accepted_before } => report.accepted.saturating_sub(accepted_before),
            Succession::First => 0,
            Succession::NewBoot => {
                server.rebooted();
                self.times.forget(id);
                0
            }
        };
        for class in &report.classes {
            self.times.set(id, ClassId(class.class), class.service_us);
        }
        server.settle(included, now.saturating_sub(self.period));
        let was_silent = server.silent;
        let classes = server.take_report(report, &self.times, now);
        Ok(Accepted {
            server: id,
            rebooted: succession == Succession::NewBoot,
            returned: was_silent,
            classes,
        })
    }

    /// Takes out servers whose reports stopped, and names them. Call it a few times per period.
    pub fn tick(&mut self, now: Duration) -> Vec<ServerId> {
        let patience = self.period * SILENT_PERIODS;
        let silenced = self.servers.iter_mut().filter_map(|s| s.fall_silent(now, patience).then(|| s.id()));
        silenced.collect()
    }

    /// Reckons every server's T for `now`: a server works off its queue, one second of service time a second, whether or not it
    /// has said so. Without this, everything dispatched between two reports would count as held, however quickly it is served,
    /// and a busy class would leave its server for nothing. Call it before a choice.
    pub fn advance(&mut self, now: Duration) {
        self.servers.iter_mut().for_each(|server| server.advance(now));
    }

    /// Counts an own dispatch in R, q and T of its server at once.
    pub fn dispatched(&mut self, server: ServerId, class: ClassId, now: Duration) {
        let service_us = self.times.expected(server, class);
        self.times.count_in_mix(class);
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.dispatched(class, service_us, now);
        }
    }

    /// Counts requests on kept connections in T of their server, which no dispatch tells of. Their classes are not known; the next
    /// report includes them.
    pub fn continued(&mut self, server: ServerId, requests: u64) {
        let mean_us = self.times.mean();
        if let Some(server) = self.servers.get_mut(server.index()).filter(|_| requests > 0) {
            server.continued(requests, mean_us);
        }
    }

    /// Says whether the MAC address of a server is known.
    pub fn set_mac_known(&mut self, server: ServerId, known: bool) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.has_mac = known;
        }
    }

    /// Starts or ends the draining of a server.
    pub fn set_draining(&mut self, server: ServerId, draining: bool) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.draining = draining;
        }
    }

    /// Notes the boot id that a server had when the front-end last ran, so that a boot meanwhile is noticed.
    pub fn assume_boot(&mut self, server: ServerId, boot_id: u64) {
        if let Some(server) = self.servers.get_mut(server.index()) {
            server.freshness.assume_boot(boot_id);
        }
    }

    /// Mean service time of a request, above zero; 1 ms while nothing is known.
    #[must_use]
    pub fn mean_service_time(&self) -> Duration {
        Duration::from_micros(self.times.mean().into())
    }

    /// Expected service time of a request of `class` on `server`: measured there, else the class's mean over the
    /// servers, else the mean of all, else 1 ms.
    #[must_use]
    pub fn service_time(&self, server: ServerId, class: ClassId) -> Duration {
        Duration::from_micros(self.times.expected(server, class).into())
    }

    /// Mean of what the servers measured for `class`.
    #[must_use]
    pub fn class_service_time(&self, class: ClassId) -> Option<Duration> {
        self.times.class_mean(class).map(|us| Duration::from_micros(us.into()))
    }

    /// What `server` itself measured for `class`.
    #[must_use]
    pub fn measured_service_time(&self, server: ServerId, class: ClassId) -> Option<Duration> {
        self.times.measured(server, class).map(|us| Duration::from_micros(us.into()))
    }
}

//! What the front-end knows of one server: its last report, its own dispatches since, and whether new flows may go
//! to it. Owns R, q and T of that server; comparing servers is the policies' business.

use std::{mem, time::Duration};

use super::{freshness::Freshness, outstanding::Outstanding, service_time::ServiceTimes};
use crate::{
    ids::{ClassId, ServerId},
    report::Report,
};

/// Whether new flows may go to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Reports arrive and the MAC address is known.
    Up,
    /// No report for three periods, or none yet.
    Silent,
    /// Reports arrive, but the MAC address is not known.
    NoMac,
    /// The operator wants no new flows there.
    Draining,
}

impl Health {
    /// The word in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::NoMac => "no-mac",
            Self::Draining => "draining",
        }
    }
}

/// One server.
#[derive(Debug, Clone)]
pub struct Server {
    id: ServerId,
    name: String,
    last: Option<Report>,
    last_at: Duration,
    /// R by class, from the last report.
    reported_held: Vec<u32>,
    /// T in µs of what the last report says is held, and of requests on kept connections since, less the work that the server has had
    /// time for since.
    reported_load_us: u64,
    /// Until when that is reckoned.
    advanced_to: Duration,
    outstanding: Outstanding,
    pub(super) silent: bool,
    pub(super) has_mac: bool,
    pub(super) draining: bool,
    pub(super) freshness: Freshness,
}

impl Server {
    pub(super) fn new(id: ServerId, name: String, class_count: usize) -> Self {
        Self {
            id,
            name,
            last: None,
            last_at: Duration::ZERO,
            reported_held: vec![0; class_count],
            reported_load_us: 0,
            advanced_to: Duration::ZERO,
            outstanding: Outstanding::new(class_count),
            silent: true,
            has_mac: false,
            draining: false,
            freshness: Freshness::default(),
        }
    }

    /// Its position in the configuration.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether new flows may go to it.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Self { draining: true, .. } => Health::Draining,
            Self { silent: true, .. } => Health::Silent,
            Self { has_mac: false, .. } => Health::NoMac,
            _ => Health::Up,
        }
    }

    /// T: expected service time of all requests held, own dispatches since the last report included, and less what the server
    /// has had time for since: see [`Cluster::advance`](super::Cluster::advance).
    #[must_use]
    pub fn load(&self) -> Duration {
        Duration::from_micros(self.load_us())
    }

    /// T in µs: policies compare it for every server and request, and whole numbers compare faster.
    pub(crate) fn load_us(&self) -> u64 {
        self.reported_load_us.saturating_add(self.outstanding.load_us())
    }

    /// q: requests held by the last report, and own dispatches since that the server has not had time for.
    #[must_use]
    pub fn queue(&self) -> u32 {
        self.reported_queue().saturating_add(self.outstanding.queue())
    }

    /// R: requests of `class` held by the last report, and own dispatches since that the server has not had time for.
    #[must_use]
    pub fn held(&self, class: ClassId) -> u32 {
        self.reported_held(class).saturating_add(self.outstanding.held(class))
    }

    /// q of the last report, from which Eq. 1 is computed.
    #[must_use]
    pub fn reported_queue(&self) -> u32 {
        self.last.as_ref().map_or(0, |report| report.queue)
    }

    /// R of the last report, from which Eq. 1 is computed.
    #[must_use]
    pub fn reported_held(&self, class: ClassId) -> u32 {
        self.reported_held.get(class.index()).copied().unwrap_or(0)
    }

    /// Own dispatches that no report includes yet and that the server has not had time for.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding.queue()
    }

    /// Open connections by the last report, and own dispatches since that the server has not had time for.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let reported = self.last.as_ref().map_or(0, |report| report.connections);
        reported.saturating_add(self.outstanding.queue())
    }

    /// The last report, if there was one.
    #[must_use]
    pub fn last_report(&self) -> Option<&Report> {
        self.last.as_ref()
    }

    /// Time since the last report arrived.
    #[must_use]
    pub fn report_age(&self, now: Duration) -> Option<Duration> {
        self.last.as_ref().map(|_| now.saturating_sub(self.last_at))
    }

    /// Boot id of the last report.
    #[must_use]
    pub fn boot_id(&self) -> Option<u64> {
        self.freshness.boot()
    }

    pub(super) fn dispatched(&mut self, class: ClassId, service_us: u32, now: Duration) {
        self.outstanding.add(class, service_us, now);
    }

    pub(super) fn continued(&mut self, requests: u64, service_us: u32) {
        let work_us = requests.saturating_mul(service_us.into());
        self.reported_load_us = self.reported_load_us.saturating_add(work_us);
    }

    /// Believes the server to have worked until `now`: first on what it reported, then on our dispatches since.
    pub(super) fn advance(&mut self, now: Duration) {
        let elapsed_us = now.saturating_sub(self.advanced_to).as_micros() as u64;
        // Parts of a microsecond are left for the next time.
        self.advanced_to += Duration::from_micros(elapsed_us);
        let on_reported_us = elapsed_us.min(self.reported_load_us);
        self.reported_load_us -= on_reported_us;
        self.outstanding.serve(elapsed_us - on_reported_us);
    }

    /// Takes off the account what `report` includes, or what is older than a period.
    pub(super) fn settle(&mut self, included: u64, expired_before: Duration) {
        self.outstanding.take_oldest(included);
        self.outstanding.take_before(expired_before);
        self.outstanding.doubt();
    }

    /// Nothing that was dispatched before a boot is left.
    pub(super) fn rebooted(&mut self) {
        self.outstanding.clear();
    }

    /// Replaces the last report and gives the classes of which something was or is held.
    pub(super) fn take_report(
        &mut self,
        report: &Report,
        times: &ServiceTimes,
        now: Duration,
    ) -> Vec<ClassId> {
        let mut touched = Vec::with_capacity(report.classes.len());
        self.clear_held(&mut touched);
        let (mut listed, mut load_us) = (0_u32, 0_u64);
        for entry in report.classes.iter().filter(|entry| entry.held > 0) {
            let class = ClassId(entry.class);
            listed = listed.saturating_add(entry.held);
            load_us = load_us.saturating_add(work_us(entry.held, times.expected(self.id, class)));
            if let Some(held) = self.reported_held.get_mut(class.index()) {
                *held = entry.held;
                touched.push(class);
            }
        }
        let unlisted = report.queue.saturating_sub(listed);
        self.reported_load_us = load_us.saturating_add(work_us(unlisted, times.mean()));
        self.remember(report);
        self.last_at = now;
        self.advanced_to = now;
        self.silent = false;
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Whether this made it silent.
    pub(super) fn fall_silent(&mut self, now: Duration, patience: Duration) -> bool {
        let newly = !self.silent && now.saturating_sub(self.last_at) > patience;
        self.silent |= newly;
        newly
    }

    /// Sets R to zero and notes the classes of which something was held.
    fn clear_held(&mut self, touched: &mut Vec<ClassId>) {
        let listed = self.last.iter().flat_map(|report| &report.classes);
        for entry in listed.filter(|entry| entry.held > 0) {
            if let Some(held) = self.reported_held.get_mut(usize::from(entry.class)) {
                *held = 0;
                touched.push(ClassId(entry.class));
            }
        }
    }

    /// Keeps a copy of `report` in the room that the one before had.
    fn remember(&mut self, report: &Report) {
        let Some(last) = &mut self.last else {
            self.last = Some(report.clone());
            return;
        };
        let mut classes = mem::take(&mut last.classes);
        classes.clone_from(&report.classes);
        *last = Report { server: mem::take(&mut last.server), classes, ..*report };
    }
}

fn work_us(requests: u32, service_us: u32) -> u64 {
    u64::from(requests) * u64::from(service_us)
}

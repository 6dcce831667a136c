//! One simulated server: a FIFO queue, the request in service at its head, and what its agent would report. Memory is in
//! `cache`, time in `agenda`.

use std::collections::VecDeque;

use dispatcher_core::{
    ids::ServerId,
    report::{ClassReport, Report},
};

use crate::{
    level::{Level, PerLevel},
    request::Request,
    settings::{ClusterSettings, Slowdown},
    span::Span,
};

/// Weight of one request in the moving average of a class's service time is 1/8.
const AVERAGE_SHIFT: u32 = 3;

/// What became of a request that was sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is the only one: its service begins.
    First,
    /// Others are before it.
    Queued,
    /// The queue is full.
    Full,
    /// The server is down.
    Down,
}

/// One server.
#[derive(Debug, Clone)]
pub struct Server {
    queue: VecDeque<Request>,
    limit: usize,
    slowdowns: Vec<Slowdown>,
    down: bool,
    /// Which life it lives; failures end one.
    pub life: u32,
    /// Open connections, idle ones included.
    connections: u32,
    /// What the request at the head takes, in µs.
    service_us: u64,
    waiting: PerLevel<u32>,
    classes: Vec<Class>,
    /// Classes that the next report names.
    named: Vec<u16>,
    report: Report,
}

#[derive(Debug, Clone, Copy, Default)]
struct Class {
    held: u32,
    service_us: u32,
    named: bool,
}

impl Server {
    /// An idle server with `class_count` classes.
    #[must_use]
    pub fn new(id: ServerId, settings: &ClusterSettings, class_count: usize) -> Self {
        let of_this = |slowdown: &&Slowdown| slowdown.server == id.0 + 1;
        Self {
            queue: VecDeque::new(),
            limit: if settings.queue_limit == 0 { usize::MAX } else { settings.queue_limit as usize },
            slowdowns: settings.slow.iter().filter(of_this).cloned().collect(),
            down: false,
            life: 0,
            connections: 0,
            service_us: 0,
            waiting: PerLevel::default(),
            classes: vec![Class::default(); class_count],
            named: Vec::new(),
            report: first_report(id),
        }
    }

    /// The name by which the front-end knows it.
    #[must_use]
    pub fn name_of(id: ServerId) -> String {
        format!("server{}", id.0 + 1)
    }

    /// Requests that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    /// The request in service.
    #[must_use]
    pub fn head(&self) -> Option<&Request> {
        self.queue.front()
    }

    /// Requests of a level that wait behind the one in service.
    #[must_use]
    pub fn waiting(&self, level: Level) -> u32 {
        self.waiting[level]
    }

    /// The service of the request at the head begins; `work_us` of it takes so long here and now, in µs.
    pub fn begin(&mut self, work_us: u64, now_us: u64) -> u64 {
        let now = |slowdown: &&Slowdown| slowdown.during.contains(&Span(now_us));
        let slow = self.slowdowns.iter().filter(now);
        self.service_us = slow.fold(work_us, |us, slowdown| us * slowdown.factor_permille / 1000);
        self.service_us
    }

    /// A request arrives.
    pub fn take(&mut self, request: Request) -> Taken {
        if self.down {
            return Taken::Down;
        }
        if self.queue.len() >= self.limit {
            return Taken::Full;
        }
        self.classes[request.class.index()].held += 1;
        self.name(request.class.0);
        self.queue.push_back(request);
        if self.queue.len() == 1 {
            return Taken::First;
        }
        self.waiting[request.level] += 1;
        Taken::Queued
    }

    /// The ticket of a connection is accepted.
    pub fn connect(&mut self) {
        self.connections += 1;
        self.report.accepted += 1;
    }

    /// A connection ends.
    pub fn disconnect(&mut self) {
        self.connections -= 1;
    }

    /// The request at the head is done; the next one moves up.
    pub fn finish(&mut self) -> Option<Request> {
        let request = self.queue.pop_front()?;
        let class = &mut self.classes[request.class.index()];
        class.held -= 1;
        let took_us = u32::try_from(self.service_us).unwrap_or(u32::MAX).max(1);
        class.service_us = match class.service_us {
            0 => took_us,
            before => before - (before >> AVERAGE_SHIFT) + (took_us >> AVERAGE_SHIFT),
        };
        self.name(request.class.0);
        if let Some(next) = self.queue.front() {
            self.waiting[next.level] -= 1;
        }
        Some(request)
    }

    /// Takes the newest request of `level` that waits out of the queue.
    pub fn evict(&mut self, level: Level) -> Option<Request> {
        let place = (1..self.queue.len()).rev().find(|&place| self.queue[place].level == level)?;
        let request = self.queue.remove(place)?;
        self.classes[request.class.index()].held -= 1;
        self.waiting[level] -= 1;
        Some(request)
    }

    /// It fails; what it held is lost and given back.
    pub fn fail(&mut self) -> Vec<Request> {
        self.down = true;
        self.life += 1;
        self.connections = 0;
        self.waiting = PerLevel::default();
        self.classes.iter_mut().for_each(|class| *class = Class::default());
        self.named.clear();
        self.queue.drain(..).collect()
    }

    /// It returns, booted.
    pub fn come_back(&mut self) {
        self.down = false;
        self.report.boot_id += 1;
        self.report.accepted = 0;
    }

    /// The report that the agent sends now, or nothing when the server is down.
    pub fn report(&mut self) -> Option<&Report> {
        if self.down {
            return None;
        }
        let report = &mut self.report;
        report.sequence += 1;
        report.queue = self.queue.len() as u32;
        report.connections = self.connections;
        report.cpu_permille = if self.queue.is_empty() { 0 } else { 1000 };
        report.load_us = 0;
        report.classes.clear();
        let classes = &mut self.classes;
        self.named.retain(|&number| {
            let class = &mut classes[usize::from(number)];
            class.named = class.held > 0;
            report.load_us += u64::from(class.held) * u64::from(class.service_us);
            report.classes.push(ClassReport {
                class: number,
                held: class.held,
                service_us: class.service_us,
            });
            class.named
        });
        Some(report)
    }

    fn name(&mut self, number: u16) {
        let class = &mut self.classes[usize::from(number)];
        if !class.named {
            class.named = true;
            self.named.push(number);
        }
    }
}

fn first_report(id: ServerId) -> Report {
    Report {
        server: Server::name_of(id),
        boot_id: 1,
        sequence: 0,
        sent_at_ms: 0,
        queue: 0,
        load_us: 0,
        accepted: 0,
        connections: 0,
        cpu_permille: 0,
        listen_overflows: 0,
        classes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use dispatcher_core::ids::ClassId;

    use super::*;
    use crate::settings::Settings;

    fn server(settings: &ClusterSettings) -> Server {
        Server::new(ServerId(0), settings, 2)
    }

    fn request(class: u16, level: Level) -> Request {
        let class = ClassId(class);
        Request {
            context: 0,
            target: 0,
            class,
            level,
            connection: 0,
            issued_us: 0,
            dispatched_us: 0,
            service_us: 1,
            miss_us: 1,
            size: 1,
        }
    }

    #[test]
    fn a_report_names_what_is_held_and_what_was_measured() {
        let mut server = server(&Settings::default().cluster);
        assert_eq!(server.take(request(0, Level::High)), Taken::First);
        assert_eq!(server.take(request(1, Level::Low)), Taken::Queued);
        server.begin(80, 0);
        assert!(server.finish().is_some());
        let classes = |server: &mut Server| -> Vec<(u16, u32, u32)> {
            let report = server.report().unwrap();
            report.classes.iter().map(|c| (c.class, c.held, c.service_us)).collect()
        };
        assert_eq!(classes(&mut server), [(0, 0, 80), (1, 1, 0)]);
        assert_eq!(classes(&mut server), [(1, 1, 0)]);
        server.begin(160, 0);
        server.finish();
        assert_eq!(classes(&mut server), [(1, 0, 160)]);
        assert_eq!(classes(&mut server), []);
    }

    #[test]
    fn a_full_queue_takes_nothing_and_an_eviction_makes_room() {
        let settings = ClusterSettings { queue_limit: 2, ..Settings::default().cluster };
        let mut server = server(&settings);
        server.take(request(0, Level::Low));
        server.take(request(0, Level::Low));
        assert_eq!(server.take(request(0, Level::High)), Taken::Full);
        assert_eq!((server.waiting(Level::Low), server.held()), (1, 2));
        assert!(server.evict(Level::Low).is_some());
        assert!(server.evict(Level::Low).is_none(), "the one in service stays");
        assert_eq!(server.take(request(0, Level::High)), Taken::Queued);
    }

    #[test]
    fn a_slow_server_is_slow_while_it_is_said_to_be() {
        let slow = vec![Slowdown { during: Span(10)..Span(20), ..Slowdown::always(1, 3) }];
        let mut server = server(&ClusterSettings { slow, ..Settings::default().cluster });
        assert_eq!([9, 10, 19, 20].map(|now_us| server.begin(100, now_us)), [100, 300, 300, 100]);
    }

    #[test]
    fn a_server_that_failed_reports_another_boot() {
        let mut server = server(&Settings::default().cluster);
        let boot = server.report().map(|report| report.boot_id);
        server.take(request(0, Level::Low));
        assert_eq!(server.fail().len(), 1);
        assert!(server.report().is_none());
        assert_eq!(server.take(request(0, Level::Low)), Taken::Down);
        server.come_back();
        assert_ne!(server.report().map(|report| report.boot_id), boot);
    }
}

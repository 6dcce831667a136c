//! The simulation itself: takes one event after the other and moves requests from clients through the front-end to servers and
//! back. Owns no decision and no measurement; those are the front-end's, the servers' and the metrics'.

use std::collections::VecDeque;

use dispatcher_core::{ids::ServerId, policy::UnknownPolicy, report::Report};

use crate::{
    admission::Admission,
    agenda::{Agenda, Event},
    cache::Memories,
    clients::{Clients, Next},
    contender::Contender,
    front_end::FrontEnd,
    level::Level,
    metrics::{Cause, Metrics},
    request::{Found, Request},
    server::{Server, Taken},
    settings::{OverLimit, Settings},
};

/// One cluster under one policy.
#[derive(Debug)]
pub struct Engine {
    agenda: Agenda,
    clients: Clients,
    door: Admission,
    front: FrontEnd,
    servers: Vec<Server>,
    memories: Memories,
    reports_under_way: VecDeque<Report>,
    metrics: Metrics,
    over_limit: OverLimit,
    period_us: u64,
    delay_us: u64,
    remote_us: u64,
}

impl Engine {
    /// The cluster at its beginning: every server has reported once, and no request was issued. Clients are `clients`;
    /// each memory has room for `capacity`.
    ///
    /// # Errors
    /// When the policy does not exist.
    pub fn new(
        settings: &Settings,
        contender: &Contender,
        clients: Clients,
        capacity: u64,
    ) -> Result<Self, UnknownPolicy> {
        let cluster = &settings.cluster;
        let ids = (0..cluster.servers).map(ServerId);
        let mut engine = Self {
            agenda: Agenda::default(),
            clients,
            door: Admission::new(&settings.front, cluster.servers),
            front: FrontEnd::new(settings, contender)?,
            servers: ids.map(|id| Server::new(id, cluster, contender.classes.into())).collect(),
            memories: Memories::new(cluster, capacity),
            reports_under_way: VecDeque::new(),
            metrics: Metrics::new(cluster.servers),
            over_limit: settings.front.over_limit,
            period_us: settings.front.period.0.max(1),
            delay_us: settings.front.delay.0,
            remote_us: cluster.remote.0,
        };
        engine.begin(settings);
        Ok(engine)
    }

    /// The next event happens.
    pub fn step(&mut self) {
        if let Some(event) = self.agenda.take_next() {
            self.happen(event);
        }
    }

    /// All events up to a moment happen.
    pub fn advance(&mut self, until_us: u64) {
        while let Some(event) = self.agenda.take_until(until_us) {
            self.happen(event);
        }
    }

    /// A request comes from outside, now, on a connection of its own.
    pub fn offer(&mut self, request: Request) {
        let connection = self.clients.connect();
        let now_us = self.now_us();
        self.metrics.issued(request.level);
        self.enter(Request { connection, issued_us: now_us, ..request });
        self.let_in();
    }

    /// Whether a request that comes now need not wait outside.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.door.has_room()
    }

    /// The simulation's clock in µs.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.agenda.now_us()
    }

    /// What was measured.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The warm-up is over.
    pub fn restart_metrics(&mut self) {
        self.metrics.restart(self.agenda.now_us());
    }

    /// Entries of the policy in the front-end.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.front.entries()
    }

    /// Requests issued and neither answered nor dropped: those outside and those that servers hold.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.door.outside() as u64 + self.servers.iter().map(|server| server.held() as u64).sum::<u64>()
    }

    fn begin(&mut self, settings: &Settings) {
        let count = self.servers.len() as u64;
        for server in 0..settings.cluster.servers {
            if let Some(report) = self.servers[usize::from(server)].report() {
                self.front.accept(report, 0);
            }
            // Servers are not in step with one another.
            let phase_us = self.period_us * (u64::from(server) + 1) / count;
            self.agenda.regularly(phase_us, Event::Report { server });
        }
        self.agenda.regularly(self.period_us, Event::Tick);
        for failure in &settings.cluster.fail {
            if let Some(server) = failure.server.checked_sub(1).filter(|&at| at < settings.cluster.servers) {
                self.agenda.at(failure.during.start.0, Event::Fail { server });
                self.agenda.at(failure.during.end.0, Event::Return { server });
            }
        }
        self.clients.begin(&mut self.agenda);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask { connection } => self.ask(connection),
            Event::Arrive => {
                let connection = self.clients.arrive(&mut self.agenda);
                self.ask(connection);
            }
            Event::Close { connection } => self.close(connection),
            Event::Finish { server, life } => self.finish(ServerId(server), life),
            Event::Report { server } => self.report(server),
            Event::Deliver => self.deliver(),
            Event::Tick => {
                self.front.tick(self.agenda.now_us());
                self.agenda.regularly(self.period_us, Event::Tick);
            }
            Event::Fail { server } => self.fail(ServerId(server)),
            Event::Return { server } => self.servers[usize::from(server)].come_back(),
        }
        self.let_in();
    }

    fn ask(&mut self, connection: u32) {
        let request = self.clients.ask(connection, self.agenda.now_us());
        self.metrics.issued(request.level);
        match self.clients.server(connection) {
            None => self.enter(request),
            Some((server, life)) if life == self.servers[server.index()].life => self.hand(server, request),
            Some((server, _)) => self.lose(server, &request, Cause::Failed),
        }
    }

    /// A request of a new connection is at the door.
    fn enter(&mut self, request: Request) {
        if self.door.has_room() {
            return self.dispatch(request);
        }
        let over_limit = self.over_limit;
        match over_limit {
            OverLimit::Wait if self.door.wait(request) => {}
            OverLimit::Evict if self.evict_anywhere(request.level) => self.dispatch(request),
            _ => self.refuse(&request),
        }
    }

    /// Those who wait outside come in while there is room.
    fn let_in(&mut self) {
        while let Some(request) = self.door.let_in() {
            self.dispatch(request);
        }
    }

    fn dispatch(&mut self, request: Request) {
        let now_us = self.agenda.now_us();
        let Some(id) = self.front.choose(&request, now_us) else { return self.refuse(&request) };
        if self.front.holds_back(id) && !self.evict_at(id, request.level) {
            return self.refuse(&request);
        }
        self.front.dispatched(id, &request, now_us);
        self.door.enter();
        let server = &mut self.servers[id.index()];
        server.connect();
        self.clients.open(request.connection, id, server.life);
        self.hand(id, Request { dispatched_us: now_us, ..request });
    }

    /// Gives a request to the server of its connection.
    fn hand(&mut self, server: ServerId, request: Request) {
        match self.servers[server.index()].take(request) {
            Taken::First => self.serve(server),
            Taken::Queued => {}
            Taken::Full => self.lose(server, &request, Cause::QueueFull),
            Taken::Down => self.lose(server, &request, Cause::Failed),
        }
    }

    /// The service of the request at a server's head begins.
    fn serve(&mut self, id: ServerId) {
        let server = &mut self.servers[id.index()];
        let Some(request) = server.head() else { return };
        let found = self.memories.fetch(id, request);
        let fetch_us = match found {
            Found::Here => 0,
            Found::Elsewhere => self.remote_us,
            Found::Nowhere => request.miss_us.into(),
        };
        let busy_us = server.begin(u64::from(request.service_us) + fetch_us, self.agenda.now_us());
        self.metrics.found(id, found, busy_us);
        self.agenda.after(busy_us, Event::Finish { server: id.0, life: server.life });
    }

    fn finish(&mut self, id: ServerId, life: u32) {
        let server = &mut self.servers[id.index()];
        if server.life != life {
            return;
        }
        let Some(request) = server.finish() else { return };
        self.metrics.served(id, &request, self.agenda.now_us());
        self.serve(id);
        if self.clients.answered(request.connection, &mut self.agenda) == Next::Closes {
            self.close(request.connection);
        }
    }

    /// A connection that was let in ends.
    fn close(&mut self, connection: u32) {
        self.door.leave();
        if let Some((server, life)) = self.clients.server(connection) {
            let server = &mut self.servers[server.index()];
            if server.life == life {
                server.disconnect();
            }
        }
        self.clients.close(connection, &mut self.agenda);
    }

    /// A request is lost at its server, and its connection with it.
    fn lose(&mut self, server: ServerId, request: &Request, cause: Cause) {
        self.metrics.dropped(Some(server), request.level, cause);
        self.close(request.connection);
    }

    /// A request gets no server.
    fn refuse(&mut self, request: &Request) {
        self.metrics.dropped(None, request.level, Cause::Refused);
        self.clients.close(request.connection, &mut self.agenda);
    }

    /// Fig. 3: the lowest of those who wait at any server goes, if it is lower than `level`.
    fn evict_anywhere(&mut self, level: Level) -> bool {
        let Some(lowest) = lower(level).find(|&low| self.servers.iter().any(|s| s.waiting(low) > 0)) else {
            return false;
        };
        let most =
            (0..self.servers.len() as u16).max_by_key(|&id| self.servers[usize::from(id)].waiting(lowest));
        most.is_some_and(|id| self.evict_at(ServerId(id), level))
    }

    /// The same at one server.
    fn evict_at(&mut self, id: ServerId, level: Level) -> bool {
        if self.over_limit != OverLimit::Evict {
            return false;
        }
        let server = &mut self.servers[id.index()];
        let evicted = lower(level).find_map(|low| server.evict(low));
        if let Some(request) = &evicted {
            self.lose(id, request, Cause::Evicted);
        }
        evicted.is_some()
    }

    fn fail(&mut self, id: ServerId) {
        for request in self.servers[id.index()].fail() {
            self.lose(id, &request, Cause::Failed);
        }
    }

    fn report(&mut self, number: u16) {
        self.agenda.regularly(self.period_us, Event::Report { server: number });
        let Some(report) = self.servers[usize::from(number)].report() else { return };
        if self.delay_us == 0 {
            return self.front.accept(report, self.agenda.now_us());
        }
        self.reports_under_way.push_back(report.clone());
        self.agenda.after(self.delay_us, Event::Deliver);
    }

    fn deliver(&mut self) {
        if let Some(report) = self.reports_under_way.pop_front() {
            self.front.accept(&report, self.agenda.now_us());
        }
    }
}

/// Levels below `level`, the lowest first.
fn lower(level: Level) -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().rev().take_while(move |&low| low < level)
}

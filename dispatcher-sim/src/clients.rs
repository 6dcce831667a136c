//! The clients: when they ask, on which connection, and what for. Owns the connections; what happens to a request is the
//! engine's business.

use dispatcher_core::ids::ServerId;
use rand_pcg::Pcg64;

use crate::{
    agenda::{Agenda, Event},
    catalogue::{self, Context},
    popularity::Popularity,
    random::{self, Stream},
    request::Request,
    settings::{ArrivalKind, Settings, WorkloadSettings},
};

/// A client's connection, or in a closed loop the client itself.
#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    /// Its server, and in which life of it the connection was opened.
    server: Option<(ServerId, u32)>,
    requests_left: u32,
}

/// What a client does with its connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It will ask for more.
    AsksAgain,
    /// It leaves it open.
    Idles,
    /// It closes it.
    Closes,
}

/// All clients.
#[derive(Debug, Clone)]
pub struct Clients {
    settings: WorkloadSettings,
    /// When they ask by themselves; not at all when requests come from outside.
    arrival: Option<ArrivalKind>,
    miss_us: u32,
    contexts: Vec<Context>,
    popularity: Popularity,
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// Mean time between two arrivals at a load of 1, open loop.
    gap_us: f64,
    arrivals: Pcg64,
    choices: Pcg64,
}

impl Clients {
    /// The clients of a run with `classes` hash classes.
    #[must_use]
    pub fn new(settings: &Settings, classes: u16) -> Self {
        let workload = &settings.workload;
        let connections = if workload.arrival == ArrivalKind::Closed { workload.clients as usize } else { 0 };
        Self {
            miss_us: u32::try_from(settings.cluster.miss.0).unwrap_or(u32::MAX),
            contexts: catalogue::contexts(workload, classes),
            popularity: Popularity::new(workload),
            connections: vec![Connection::default(); connections],
            free: Vec::new(),
            gap_us: workload.mean_service_us() / f64::from(settings.cluster.servers),
            arrivals: random::stream(settings.run.seed, Stream::Arrivals),
            choices: random::stream(settings.run.seed, Stream::Contexts),
            arrival: Some(workload.arrival),
            settings: workload.clone(),
        }
    }

    /// Nobody: requests come from outside, each on a connection of its own.
    #[must_use]
    pub fn outside(settings: &Settings) -> Self {
        let mut settings = settings.clone();
        settings.workload.arrival = ArrivalKind::Open;
        (settings.workload.per_connection, settings.workload.idle) = (1, 0);
        Self { arrival: None, ..Self::new(&settings, 1) }
    }

    /// Notes everybody's first request.
    pub fn begin(&mut self, agenda: &mut Agenda) {
        for connection in 0..self.connections.len() as u32 {
            agenda.after(self.think_us(), Event::Ask { connection });
        }
        if self.arrival.is_some_and(|arrival| arrival != ArrivalKind::Closed) {
            agenda.after(self.next_arrival_us(0), Event::Arrive);
        }
    }

    /// A new client comes (open loop); the next one is noted.
    pub fn arrive(&mut self, agenda: &mut Agenda) -> u32 {
        let after_us = self.next_arrival_us(agenda.now_us());
        agenda.after(after_us, Event::Arrive);
        self.connect()
    }

    /// A place for a new connection.
    pub fn connect(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            (self.connections.len() - 1) as u32
        })
    }

    /// What the client on `connection` asks for.
    pub fn ask(&mut self, connection: u32, now_us: u64) -> Request {
        let number = self.popularity.draw(now_us, &mut self.choices);
        let Context { class, target, level, service_us } = self.contexts[number as usize];
        Request {
            context: number.into(),
            target,
            class,
            level,
            connection,
            issued_us: now_us,
            dispatched_us: now_us,
            service_us,
            miss_us: self.miss_us,
            size: 1,
        }
    }

    /// The server of an open connection, and in which life of it the connection was opened.
    #[must_use]
    pub fn server(&self, connection: u32) -> Option<(ServerId, u32)> {
        self.connections[connection as usize].server
    }

    /// A connection is open, to `server` in that life of it.
    pub fn open(&mut self, connection: u32, server: ServerId, life: u32) {
        let requests_left = self.settings.per_connection;
        self.connections[connection as usize] = Connection { server: Some((server, life)), requests_left };
    }

    /// The response to a request has come.
    pub fn answered(&mut self, connection: u32, agenda: &mut Agenda) -> Next {
        let open = &mut self.connections[connection as usize];
        open.requests_left = open.requests_left.saturating_sub(1);
        if open.requests_left > 0 {
            agenda.after(self.think_us(), Event::Ask { connection });
            Next::AsksAgain
        } else if random::chance(&mut self.arrivals, self.settings.idle) {
            agenda.after(self.settings.idle_time.0, Event::Close { connection });
            Next::Idles
        } else {
            Next::Closes
        }
    }

    /// A connection has ended or never came to be. Its client thinks and comes back, or in an open loop goes.
    pub fn close(&mut self, connection: u32, agenda: &mut Agenda) {
        self.connections[connection as usize] = Connection::default();
        if self.settings.arrival == ArrivalKind::Closed {
            agenda.after(self.think_us(), Event::Ask { connection });
        } else {
            self.free.push(connection);
        }
    }

    fn think_us(&mut self) -> u64 {
        random::exponential_us(&mut self.arrivals, self.settings.think.0 as f64)
    }

    fn next_arrival_us(&mut self, now_us: u64) -> u64 {
        let settings = &self.settings;
        let phase_us = now_us % settings.burst_every.0.max(1);
        let in_burst = settings.arrival == ArrivalKind::Burst && phase_us < settings.burst_length.0;
        let load = settings.load * if in_burst { settings.burst } else { 1.0 };
        let requests = f64::from(settings.per_connection);
        random::exponential_us(&mut self.arrivals, self.gap_us * requests / load.max(1e-9))
    }
}

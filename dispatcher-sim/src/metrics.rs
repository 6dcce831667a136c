//! What is counted and measured. Totals run from the beginning, so that nothing is lost; the rest begins anew when the warm-up
//! is over.

use dispatcher_core::ids::ServerId;
use hdrhistogram::Histogram;

use crate::{
    level::{Level, PerLevel},
    request::{Found, Request},
};

/// Why a request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The front-end refused it: S was reached, or no server could take it.
    Refused,
    /// One of a higher level took its place.
    Evicted,
    /// Its server's queue was full.
    QueueFull,
    /// Its server failed.
    Failed,
}

/// Requests since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Issued by clients.
    pub issued: u64,
    /// Answered.
    pub served: u64,
    /// Not answered.
    pub dropped: u64,
}

/// One server's part.
#[derive(Debug, Clone, Default)]
pub struct ServerShare {
    /// Requests that it answered.
    pub served: u64,
    /// Requests sent to it that it dropped: its queue was full, or it failed.
    pub dropped: PerLevel<u64>,
    /// Time that it was busy, in µs.
    pub busy_us: u64,
}

/// Counts and measurements.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Since the beginning.
    pub totals: Totals,
    /// When the measurement began, in µs.
    pub since_us: u64,
    /// Requests issued, by level.
    pub issued: PerLevel<u64>,
    /// Requests answered, by level.
    pub served: PerLevel<u64>,
    /// Requests not answered, by level.
    pub dropped: PerLevel<u64>,
    /// Answers from the server's own memory.
    pub hits: u64,
    /// Answers from another server's memory.
    pub remote_hits: u64,
    /// Answers from disk.
    pub misses: u64,
    /// Time from a client's request to its response, by level, in µs.
    pub latency: PerLevel<Histogram<u64>>,
    /// Time from the front-end to the response, in µs.
    pub residence: Histogram<u64>,
    /// By server.
    pub servers: Vec<ServerShare>,
}

impl Metrics {
    /// Nothing yet.
    #[must_use]
    pub fn new(servers: u16) -> Self {
        let none = PerLevel::default;
        Self {
            totals: Totals::default(),
            since_us: 0,
            issued: none(),
            served: none(),
            dropped: none(),
            hits: 0,
            remote_hits: 0,
            misses: 0,
            latency: PerLevel { high: times(), medium: times(), low: times() },
            residence: times(),
            servers: vec![ServerShare::default(); usize::from(servers)],
        }
    }

    /// The warm-up is over.
    pub fn restart(&mut self, now_us: u64) {
        let fresh = Self::new(self.servers.len() as u16);
        *self = Self { totals: self.totals, since_us: now_us, ..fresh };
    }

    /// A client has issued a request.
    pub fn issued(&mut self, level: Level) {
        self.totals.issued += 1;
        self.issued[level] += 1;
    }

    /// A server begins to serve for `busy_us`.
    pub fn found(&mut self, server: ServerId, found: Found, busy_us: u64) {
        match found {
            Found::Here => self.hits += 1,
            Found::Elsewhere => self.remote_hits += 1,
            Found::Nowhere => self.misses += 1,
        }
        self.servers[server.index()].busy_us += busy_us;
    }

    /// A request was answered.
    pub fn served(&mut self, server: ServerId, request: &Request, now_us: u64) {
        self.totals.served += 1;
        self.served[request.level] += 1;
        self.servers[server.index()].served += 1;
        self.latency[request.level].saturating_record(now_us - request.issued_us);
        self.residence.saturating_record(now_us - request.dispatched_us);
    }

    /// A request was dropped, at a server or before it had one.
    pub fn dropped(&mut self, server: Option<ServerId>, level: Level, cause: Cause) {
        self.totals.dropped += 1;
        self.dropped[level] += 1;
        // Who is put out was not dropped by its server.
        if let Some(server) = server.filter(|_| cause != Cause::Evicted) {
            self.servers[server.index()].dropped[level] += 1;
        }
    }
}

/// Times of 1 µs to an hour, exact to 1 %.
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are constants in order")
}

//! Clients that ask for objects of a cached site, on a connection for each request or on one that each of them keeps: at times that
//! are drawn before, whatever becomes of the requests before them, or over and over.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Level, Outcome,
    client::{self, Answer},
    kept::Kept,
};
use crate::Host;

/// Clients, and how they use connections.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub count: usize,
    /// Each keeps its connection for its next request; else each request has a connection of its own, from an address that was not
    /// used for a while.
    pub keep: bool,
}

/// An object and when somebody asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub object: u32,
    /// Since the beginning of the load.
    pub due: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// When it was due, since the beginning of the load.
    pub due: Duration,
    /// From when it was due, or, over and over, from when its client began.
    pub latency: Duration,
    pub outcome: Outcome,
    /// Whether the server had it in its cache.
    pub hit: bool,
    /// Number of the server that answered.
    pub server: Option<u8>,
    /// Whether it came on a connection that had requests before.
    pub on_kept: bool,
}

/// Sends every request when it is due; clients ask in turn. One whose kept connection is still busy with its request before opens
/// another. A client waits for `patience` from when a request is due. Gives the requests in the order of their ends.
///
/// # Errors
/// When the namespace cannot be entered or the event loop cannot be made.
pub fn fetch(
    host: &Host,
    target: SocketAddr,
    demands: &[Demand],
    clients: Clients,
    patience: Duration,
) -> Result<Vec<Fetch>> {
    host.enter(|| -> Result<Vec<Fetch>> {
        client::runtime()?.block_on(async {
            let start = Instant::now() + Duration::from_millis(50);
            let kept = Arc::new(Kept::new(clients.count));
            let mut tasks = JoinSet::new();
            for (number, demand) in demands.iter().copied().enumerate() {
                let kept = Arc::clone(&kept);
                tasks.spawn(async move {
                    let due = start + demand.due;
                    sleep_until(due).await;
                    let place = number % clients.count;
                    let mut client = Client::new(clients, place, target);
                    client.kept = kept.take(place);
                    let fetch = client.ask(number, demand.object, due, due + patience).await;
                    kept.keep(place, client.kept);
                    Fetch { due: demand.due, ..fetch }
                });
            }
            Ok(tasks.join_all().await)
        })
    })?
}

/// Asks for one of `objects` after the other, all clients at a time, for `time` or until all were asked for. Requests that have no
/// answer by then are not among the results.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_all(
    host: &Host,
    target: SocketAddr,
    objects: &[u32],
    clients: Clients,
    time: Duration,
) -> Result<Vec<Fetch>> {
    host.enter(|| -> Result<Vec<Fetch>> {
        client::runtime()?.block_on(async {
            let (objects, next) = (Arc::new(objects.to_vec()), Arc::new(AtomicUsize::new(0)));
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for place in 0..clients.count {
                let (objects, next) = (Arc::clone(&objects), Arc::clone(&next));
                let client = Client::new(clients, place, target);
                tasks.spawn(async move { fetch_until(client, &objects, &next, start, start + time).await });
            }
            Ok(tasks.join_all().await.concat())
        })
    })?
}

async fn fetch_until(
    mut client: Client,
    objects: &[u32],
    next: &AtomicUsize,
    start: Instant,
    end: Instant,
) -> Vec<Fetch> {
    let mut fetches = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(object) = objects.get(number) else { return fetches };
        let began = Instant::now();
        let fetch = client.ask(number, *object, began, end).await;
        if Instant::now() >= end {
            return fetches;
        }
        fetches.push(Fetch { due: began - start, ..fetch });
    }
}

struct Client {
    target: SocketAddr,
    /// Where it is, if it keeps its connection.
    address: Option<Ipv4Addr>,
    kept: Option<TcpStream>,
}

impl Client {
    fn new(clients: Clients, place: usize, target: SocketAddr) -> Self {
        Self { target, address: clients.keep.then(|| address(place)), kept: None }
    }

    /// For an object, with the load's request of that number.
    async fn ask(&mut self, number: usize, object: u32, from: Instant, until: Instant) -> Fetch {
        let connection = if self.address.is_some() { "" } else { "Connection: close\r\n" };
        let request = format!("GET /object/{object} HTTP/1.1\r\nHost: rig\r\n{connection}\r\n");
        let source = self.address.unwrap_or_else(|| address(number));
        let kept = self.kept.take().filter(client::is_open);
        let on_kept = kept.is_some();
        let answered = timeout_at(until, client::ask(kept, source, self.target, &request)).await;
        let latency = from.elapsed();
        let of = |outcome, hit, server| Fetch { due: Duration::ZERO, latency, outcome, hit, server, on_kept };
        match answered {
            Ok(Ok(Answer { status, server, hit, kept })) => {
                self.kept = kept.filter(|_| self.address.is_some());
                of(client::outcome(status), hit, server)
            }
            Ok(Err(error)) => of(client::failure(&error), false, None),
            Err(_) => of(Outcome::TimedOut, false, None),
        }
    }
}

/// In turn, so that ports are not used again at once.
fn address(number: usize) -> Ipv4Addr {
    Level::Medium.address((number % 512) as u16)
}

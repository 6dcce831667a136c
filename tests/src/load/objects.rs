//! Clients that ask for objects of a cached site, each on a connection of its own: at times that are drawn before, whatever
//! becomes of the requests before them, or over and over.

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
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Level, Outcome,
    client::{self, Answer},
};
use crate::Host;

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
}

/// Sends every request when it is due. A client waits for `patience` from then on. Gives the requests in the order of their ends.
///
/// # Errors
/// When the namespace cannot be entered or the event loop cannot be made.
pub fn fetch(host: &Host, target: SocketAddr, demands: &[Demand], patience: Duration) -> Result<Vec<Fetch>> {
    host.enter(|| -> Result<Vec<Fetch>> {
        client::runtime()?.block_on(async {
            let start = Instant::now() + Duration::from_millis(50);
            let mut tasks = JoinSet::new();
            for (number, demand) in demands.iter().copied().enumerate() {
                tasks.spawn(async move {
                    let due = start + demand.due;
                    sleep_until(due).await;
                    let fetch = ask(target, address(number), demand.object, due, due + patience).await;
                    Fetch { due: demand.due, ..fetch }
                });
            }
            Ok(tasks.join_all().await)
        })
    })?
}

/// Asks for one of `objects` after the other, `clients` at a time, for `time` or until all were asked for. Requests that have no
/// answer by then are not among the results.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_all(
    host: &Host,
    target: SocketAddr,
    objects: &[u32],
    clients: usize,
    time: Duration,
) -> Result<Vec<Fetch>> {
    host.enter(|| -> Result<Vec<Fetch>> {
        client::runtime()?.block_on(async {
            let (objects, next) = (Arc::new(objects.to_vec()), Arc::new(AtomicUsize::new(0)));
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..clients {
                let (objects, next) = (Arc::clone(&objects), Arc::clone(&next));
                tasks.spawn(async move { fetch_until(target, &objects, &next, start, start + time).await });
            }
            Ok(tasks.join_all().await.concat())
        })
    })?
}

async fn fetch_until(
    target: SocketAddr,
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
        let fetch = ask(target, address(number), *object, began, end).await;
        if Instant::now() >= end {
            return fetches;
        }
        fetches.push(Fetch { due: began - start, ..fetch });
    }
}

/// In turn, so that ports are not used again at once.
fn address(number: usize) -> Ipv4Addr {
    Level::Medium.address((number % 512) as u16)
}

async fn ask(target: SocketAddr, source: Ipv4Addr, object: u32, from: Instant, until: Instant) -> Fetch {
    let request = format!("GET /object/{object} HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n");
    let answered = timeout_at(until, client::ask(None, source, target, &request)).await;
    let latency = from.elapsed();
    let unanswered = |outcome| Fetch { due: Duration::ZERO, latency, outcome, hit: false, server: None };
    match answered {
        Ok(Ok(Answer { status, server, hit, .. })) => {
            Fetch { due: Duration::ZERO, latency, outcome: client::outcome(status), hit, server }
        }
        Ok(Err(error)) => unanswered(client::failure(&error)),
        Err(_) => unanswered(Outcome::TimedOut),
    }
}

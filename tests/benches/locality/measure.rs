//! A subject's session in a round: what it does, and again when a server has become slow.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    Rig,
    load::{self, Clients, Fetch, Outcome},
};

use crate::{
    subject::{SERVERS, SITE, Stage, Subject},
    workload::{OBJECTS, Workload},
};

/// An origin's time for a request, and that of the slow server's.
pub(crate) const ORIGIN_TIME: Duration = Duration::from_millis(30);
pub(crate) const SLOW_ORIGIN_TIME: Duration = Duration::from_millis(90);

/// Clients that ask over and over, and of those that keep connections all.
pub(crate) const CLIENTS: usize = 64;

/// How long they do: until caches and policies have settled, at first and with a slow server, and to be counted.
pub(crate) const SETTLING: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(12)];
pub(crate) const COUNTED: Duration = Duration::from_millis(1500);

/// Requests a second while latencies are measured: half of what the servers can do.
pub(crate) const RATE: u32 = SITE.pace * SERVERS as u32 / 2;

/// How long they come: until what those clients have left is done, and to be counted.
const STEADY_LEAD: Duration = Duration::from_secs(1);
pub(crate) const STEADY_COUNTED: Duration = Duration::from_millis(2500);

/// Clients' patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// To ask for every object once.
const LONGEST_WALK: Duration = Duration::from_secs(60);

/// More than can be asked for over and over in the time.
const ENOUGH: usize = 100_000;

/// Keys that fill up a page of nginx's zone.
const TOLERANCE: usize = 32;

/// Figures of one situation; all but `per_second` at [`RATE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Part of the requests that found their object in the server's cache.
    pub(crate) hit_rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Part of the requests without a whole answer in time.
    pub(crate) unanswered: f64,
    /// Part of the requests that went to the server that is or will be slow.
    pub(crate) at_slow: f64,
    /// With [`CLIENTS`] that ask over and over.
    pub(crate) per_second: f64,
    /// Part of the requests on connections that had some before.
    pub(crate) on_kept: f64,
}

pub(crate) struct Session {
    pub(crate) round: usize,
    pub(crate) subject: Subject,
}

impl Session {
    /// With clients that keep connections all servers stay alike: a slow one says nothing more of them.
    pub(crate) fn run(&self, stage: &mut Stage) -> Result<Vec<Sample>> {
        let slow = self.round % SERVERS + 1;
        let (rig, target) = stage.start(self.subject)?;
        for server in rig.plan().server_names() {
            rig.set_origin(&server, ORIGIN_TIME, false)?;
        }
        // The least popular first, as if they had been asked for long ago.
        let each: Vec<u32> = (0..OBJECTS).rev().collect();
        let walkers = self.clients(SERVERS * SITE.origin_threads);
        load::fetch_all(rig.host("client")?, target, &each, walkers, LONGEST_WALK)?;
        let mut workload = Workload::new(self.round as u64 + 1);
        let mut samples = vec![self.sample(rig, target, &mut workload, slow, SETTLING[0])?];
        if !self.subject.keeps() {
            rig.set_origin(&format!("server{slow}"), SLOW_ORIGIN_TIME, true)?;
            samples.push(self.sample(rig, target, &mut workload, slow, SETTLING[1])?);
        }
        check_bound(rig)?;
        stage.stop(self.subject)?;
        Ok(samples)
    }

    fn clients(&self, count: usize) -> Clients {
        Clients { count, keep: self.subject.keeps() }
    }

    fn sample(
        &self,
        rig: &Rig,
        target: SocketAddr,
        workload: &mut Workload,
        slow: usize,
        settling: Duration,
    ) -> Result<Sample> {
        let client = rig.host("client")?;
        let objects = workload.objects(ENOUGH);
        let clients = self.clients(CLIENTS);
        let over = load::fetch_all(client, target, &objects, clients, settling + COUNTED)?;
        let over: Vec<Fetch> = over.into_iter().filter(|fetch| fetch.due >= settling).collect();
        let demands = workload.demands(f64::from(RATE), STEADY_LEAD + STEADY_COUNTED);
        let mut steady = load::fetch(client, target, &demands, clients, PATIENCE)?;
        steady.retain(|fetch| fetch.due >= STEADY_LEAD);
        let sample = Sample::of(&over, &steady, slow);
        println!("{:24} {sample}, {:4.1} % at server{slow}", self.subject.name(), sample.at_slow * 100.0);
        Ok(sample)
    }
}

/// Fails if a cache is larger than meant: then nothing of it would say anything.
fn check_bound(rig: &Rig) -> Result<()> {
    for server in rig.plan().server_names() {
        let objects = rig.cached_objects(&server)?;
        ensure!(
            objects <= SITE.room + TOLERANCE,
            "{server} has {objects} objects in its cache, but {} were meant",
            SITE.room
        );
    }
    Ok(())
}

impl Sample {
    fn of(over: &[Fetch], steady: &[Fetch], slow: usize) -> Self {
        let served = |fetch: &Fetch| fetch.outcome == Outcome::Served;
        let counted = over.iter().filter(|fetch| served(fetch)).count();
        let part = |which: &dyn Fn(&Fetch) -> bool| {
            steady.iter().filter(|fetch| which(fetch)).count() as f64 / steady.len() as f64
        };
        let latency = |fetch: &Fetch| if served(fetch) { fetch.latency } else { PATIENCE };
        let mut latencies: Vec<Duration> = steady.iter().map(latency).collect();
        latencies.sort_unstable();
        Self {
            hit_rate: part(&|fetch| fetch.hit),
            p50_ms: quantile_ms(&latencies, 0.5),
            p99_ms: quantile_ms(&latencies, 0.99),
            unanswered: part(&|fetch| !served(fetch)),
            at_slow: part(&|fetch| fetch.server.is_some_and(|server| usize::from(server) == slow)),
            per_second: counted as f64 / COUNTED.as_secs_f64(),
            on_kept: part(&|fetch| fetch.on_kept),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:5.1} % hits, p50 {:5.1} ms, p99 {:6.1} ms, {:4.1} % unanswered, {:5.0} requests/s",
            self.hit_rate * 100.0,
            self.p50_ms,
            self.p99_ms,
            self.unanswered * 100.0,
            self.per_second
        )
    }
}

fn quantile_ms(sorted: &[Duration], part: f64) -> f64 {
    let index = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or_default().as_secs_f64() * 1e3
}

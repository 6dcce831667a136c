//! The clients of a load: one event loop in the client's namespace. A client asks on a connection from its own address, keeps
//! it between the requests of its session, and opens another when the one it kept is gone.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{Level, Load, Outcome, Record, schedule::Session};
use crate::{Host, wire::response};

/// A response to a small request.
const LONGEST_RESPONSE: usize = 64 << 10;

/// Things that are asked for.
const THINGS: u16 = 500;

/// Sends a load from `host` to `target` and gives every request that counts, in the order of their ends.
///
/// # Errors
/// When the namespace cannot be entered or the event loop cannot be made.
pub fn drive(host: &Host, target: SocketAddr, load: &Load) -> Result<Vec<Record>> {
    let records = host.enter(|| -> Result<Vec<Record>> {
        let records = runtime()?.block_on(all_sessions(target, *load));
        Ok(records.into_iter().filter(|record| load.counts(record.due)).collect())
    })?;
    records.context("cannot send the load")
}

/// Asks each of `targets` over and over, `clients` at a time, and gives the requests served in a second by all.
///
/// # Errors
/// As [`drive`].
pub fn saturate(host: &Host, targets: &[SocketAddr], clients: u16, time: Duration) -> Result<f64> {
    host.enter(|| -> Result<f64> {
        runtime()?.block_on(async {
            let end = Instant::now() + time;
            let mut tasks = JoinSet::new();
            for target in targets {
                for client in 0..clients {
                    tasks.spawn(ask_until(*target, Level::High.address(client), end));
                }
            }
            let served: u32 = tasks.join_all().await.into_iter().sum();
            Ok(f64::from(served) / time.as_secs_f64())
        })
    })?
}

pub(super) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot make an event loop")
}

async fn all_sessions(target: SocketAddr, load: Load) -> Vec<Record> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now() + Duration::from_millis(50);
    let mut tasks = JoinSet::new();
    for session in load.sessions() {
        let clock = Clock { start, patience: load.patience };
        tasks.spawn(run(session, target, clock, Arc::clone(&log)));
    }
    while tasks.join_next().await.is_some() {}
    std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    patience: Duration,
}

impl Clock {
    fn now(self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }
}

async fn run(session: Session, target: SocketAddr, clock: Clock, log: Arc<Mutex<Vec<Record>>>) {
    let source = session.level.address(session.client);
    let mut kept = None;
    for (index, due) in session.due.iter().enumerate() {
        sleep_until(clock.start + *due).await;
        let request = request(session.client.wrapping_add(index as u16), index + 1 == session.due.len());
        let began = clock.now();
        let open = kept.take().filter(is_open);
        let answered =
            timeout_at(clock.start + *due + clock.patience, ask_again(open, source, target, &request));
        let (outcome, server) = match answered.await {
            Ok(Ok(answer)) => {
                kept = answer.kept;
                (outcome(answer.status), answer.server)
            }
            Ok(Err(error)) => (failure(&error), None),
            Err(_) => (Outcome::TimedOut, None),
        };
        let record = Record { level: session.level, due: *due, began, ended: clock.now(), outcome, server };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

async fn ask_until(target: SocketAddr, source: Ipv4Addr, end: Instant) -> u32 {
    let mut served = 0;
    for number in 0.. {
        match timeout_at(end, ask(None, source, target, &request(number, true))).await {
            Ok(Ok(answer)) if answer.status == 200 => served += 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    served
}

fn request(number: u16, is_last: bool) -> String {
    let connection = if is_last { "Connection: close\r\n" } else { "" };
    format!("GET /thing/{} HTTP/1.1\r\nHost: rig\r\n{connection}\r\n", number % THINGS)
}

pub(super) fn outcome(status: u16) -> Outcome {
    match status {
        200 => Outcome::Served,
        503 => Outcome::Refused,
        _ => Outcome::Odd,
    }
}

pub(super) fn failure(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::InvalidData => Outcome::Odd,
        _ => Outcome::Reset,
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) server: Option<u8>,
    /// Whether it came from a server's cache.
    pub(super) hit: bool,
    pub(super) kept: Option<TcpStream>,
}

/// Whether a connection that was kept is still good: nothing may have come meanwhile, not even its end.
pub(super) fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A kept connection may end just when a request is on its way; then clients ask again on a new one (RFC 9112 section 9.3.1).
async fn ask_again(
    kept: Option<TcpStream>,
    source: Ipv4Addr,
    target: SocketAddr,
    request: &str,
) -> io::Result<Answer> {
    let was_kept = kept.is_some();
    match ask(kept, source, target, request).await {
        Err(error) if was_kept && failure(&error) == Outcome::Reset => {
            ask(None, source, target, request).await
        }
        answer => answer,
    }
}

pub(super) async fn ask(
    kept: Option<TcpStream>,
    source: Ipv4Addr,
    target: SocketAddr,
    request: &str,
) -> io::Result<Answer> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => connect(source, target).await?,
    };
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(512);
    loop {
        let closed = stream.read_buf(&mut bytes).await? == 0;
        let response = response::parse(&bytes, closed).map_err(|error| match closed && bytes.is_empty() {
            true => io::Error::from(io::ErrorKind::UnexpectedEof),
            false => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        })?;
        if let Some((response, _)) = response {
            let server = response.server.and_then(|name| name.strip_prefix("server")?.parse().ok());
            let hit = response.cache.as_deref() == Some("HIT");
            return Ok(Answer { status: response.status, server, hit, kept: Some(stream) });
        }
        if bytes.len() > LONGEST_RESPONSE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

async fn connect(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

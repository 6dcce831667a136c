//! The slow path: threads on AF_XDP sockets that give each flow's first request to a server.
//!
//! [`SlowPath::start`] opens a socket for each RX queue of the client side and starts its thread. `engine` decides what becomes
//! of a frame and knows no sockets; `socket` and `server_side` know no frames; `queue` joins the two. The kernel's program must
//! already send frames to the XSKS map with `SlowPathMeta` before them.

mod answer;
mod class_cache;
mod collect;
mod engine;
#[cfg(test)]
mod fixture;
mod frame;
mod merge;
mod outbox;
mod queue;
mod reassembly;
mod server_side;
mod socket;
mod template;
mod updates;

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dispatcher_common::siphash::SipKey;
use thiserror::Error;

use super::{FilterTable, counters::ControlCounters, dispatch::Dispatch, interface::Interface};
pub use class_cache::{ClassCache, Lookup};
use collect::Limits;
use engine::{Engine, Link, Shared, Tables};
use queue::Queue;
use server_side::ServerSide;
use socket::{OpenError, QueueSocket};

/// What the slow path is to do, and within which bounds.
#[derive(Clone, Debug)]
pub struct SlowPathOptions {
    /// The interface that clients come from.
    pub interface: Interface,
    /// The interface towards the servers, if it is another one.
    pub server_interface: Option<Interface>,
    /// RX queues of `interface`.
    pub queues: u32,
    /// Do not try zero-copy; set in skb mode, where XDP runs on copies.
    pub copy_only: bool,
    /// Longest request head, in bytes.
    pub head_limit: usize,
    /// From a head's first segment to its last.
    pub head_timeout: Duration,
    /// Flows whose head is being collected.
    pub max_collecting: usize,
    /// All collected bytes together.
    pub collect_memory_bytes: usize,
    /// Key of the tickets.
    pub ticket_key: SipKey,
}

/// Why the slow path cannot start.
#[derive(Debug, Error)]
pub enum SlowPathError {
    #[error(
        "interface {interface} has an MTU of {mtu}, the slow path takes {least} to {most}; change it with `ip link`"
    )]
    Mtu { interface: String, mtu: usize, least: usize, most: usize },
    #[error(
        "cannot set up the AF_XDP socket of {interface} queue {queue}: {reason}; run as root on Linux 6.9 or newer"
    )]
    SetUp { interface: String, queue: u32, reason: String },
    #[error(
        "cannot bind an AF_XDP socket to {interface} queue {queue}: {source}; is another program using the queue?"
    )]
    Bind { interface: String, queue: u32, source: io::Error },
    #[error(
        "cannot enter the socket of queue {queue} into the XSKS map: {source}; are there more queues than slots?"
    )]
    Insert { queue: u32, source: io::Error },
    #[error("cannot open a packet socket on {interface}: {source}; run as root")]
    ServerSide { interface: String, source: io::Error },
    #[error("cannot start the thread of queue {queue}: {source}; check the limit on threads")]
    Thread { queue: u32, source: io::Error },
}

/// The running slow path; stops when dropped.
pub struct SlowPath {
    stop: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for SlowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowPath").field("queues", &self.threads.len()).finish_non_exhaustive()
    }
}

impl SlowPath {
    /// Opens all sockets, hands each with its queue's number to `insert` (which puts it into the XSKS map; the kernel takes it
    /// out when the socket is closed), and starts the threads.
    pub fn start(
        options: &SlowPathOptions,
        mut insert: impl FnMut(u32, BorrowedFd<'_>) -> io::Result<()>,
        filters: FilterTable,
        class_cache: Option<ClassCache>,
        dispatch: Arc<dyn Dispatch>,
        counters: Arc<ControlCounters>,
    ) -> Result<Self, SlowPathError> {
        let link = Link { mtu: mtu(options)?, mac: options.interface.mac };
        let limits = Limits {
            head_limit: options.head_limit,
            head_timeout_ns: u64::try_from(options.head_timeout.as_nanos()).unwrap_or(u64::MAX),
            max_flows: options.max_collecting,
            max_memory_bytes: options.collect_memory_bytes,
        };
        let tables = Tables { filters: Arc::new(filters), class_cache };
        let shared = Arc::new(Shared::new(dispatch, tables, counters, options.ticket_key, link, limits));
        let mut slow_path = Self { stop: Arc::default(), running: Arc::default(), threads: Vec::new() };
        for queue in 0..options.queues {
            let socket = open(options, queue)?;
            insert(queue, socket.as_fd()).map_err(|source| SlowPathError::Insert { queue, source })?;
            let server_side = options.server_interface.as_ref().map(server_side).transpose()?;
            let engine = Engine::new(shared.clone());
            slow_path.spawn(queue, &options.interface.name, Queue { socket, server_side, engine })?;
        }
        Ok(slow_path)
    }

    fn spawn(&mut self, number: u32, interface: &str, queue: Queue) -> Result<(), SlowPathError> {
        let (stop, running) = (self.stop.clone(), self.running.clone());
        let name = interface.to_owned();
        running.fetch_add(1, Ordering::Relaxed);
        let thread = thread::Builder::new().name(format!("slow-path-{number}")).spawn(move || {
            if let Err(error) = queue.run(&stop) {
                tracing::error!("slow path of {name} queue {number} ended: {error}; restart the dispatcher");
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
        self.threads.push(thread.map_err(|source| SlowPathError::Thread { queue: number, source })?);
        Ok(())
    }

    /// Whether every queue's thread still runs; one ends when its device goes.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.running.load(Ordering::Relaxed) == self.threads.len()
    }

    /// Ends the threads, which takes a tenth of a second at most, and closes their sockets.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a slow-path thread panicked; please report this");
            }
        }
    }
}

impl Drop for SlowPath {
    fn drop(&mut self) {
        self.join();
    }
}

fn open(options: &SlowPathOptions, queue: u32) -> Result<QueueSocket, SlowPathError> {
    let name = &options.interface.name;
    let socket =
        QueueSocket::open(options.interface.index, queue, options.copy_only).map_err(
            |error| match error {
                OpenError::SetUp(reason) => SlowPathError::SetUp { interface: name.clone(), queue, reason },
                OpenError::Bind(source) => SlowPathError::Bind { interface: name.clone(), queue, source },
            },
        )?;
    let way = if socket.is_zero_copy() { "without copies" } else { "with copies" };
    tracing::info!("slow path listens on {name} queue {queue}, {way}");
    Ok(socket)
}

fn server_side(interface: &Interface) -> Result<ServerSide, SlowPathError> {
    ServerSide::open(interface.index)
        .map_err(|source| SlowPathError::ServerSide { interface: interface.name.clone(), source })
}

/// Bytes of the longest packet that every interface takes.
fn mtu(options: &SlowPathOptions) -> Result<usize, SlowPathError> {
    let (least, most) = (collect::MIN_MTU, socket::MAX_MTU);
    let mut smallest = most;
    for interface in options.server_interface.iter().chain([&options.interface]) {
        let mtu = interface.mtu as usize;
        if !(least..=most).contains(&mtu) {
            return Err(SlowPathError::Mtu { interface: interface.name.clone(), mtu, least, most });
        }
        smallest = smallest.min(mtu);
    }
    Ok(smallest)
}

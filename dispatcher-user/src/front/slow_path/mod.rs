//! The slow path: threads on AF_XDP sockets that give each flow's first request to a server.
//!
//! [`SlowPath::start`] opens a socket for each RX queue of the client side and starts its thread. `engine` decides what becomes
//! of a frame and knows no sockets; `socket` and `server_side` know no frames; `queue` joins the two. The kernel's program must
//! already send frames to the XSKS map with `SlowPathMeta` before them.

mod answer;
mod collect;
mod engine;
#[cfg(test)]
mod fixture;
mod frame;
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

use super::{FilterTable, counters::ControlCounters, dispatch::Dispatch};
use collect::Limits;
use engine::{Engine, Shared};
use queue::Queue;
use server_side::ServerSide;
use socket::{OpenError, QueueSocket};

/// What the slow path is to do, and within which bounds.
#[derive(Clone, Debug)]
pub struct SlowPathOptions {
    /// The interface that clients come from.
    pub interface: String,
    /// The interface towards the servers, if it is another one.
    pub server_interface: Option<String>,
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
    #[error("interface {interface} cannot be used: {source}; check the name in the configuration")]
    Interface { interface: String, source: io::Error },
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
        dispatch: Arc<dyn Dispatch>,
        counters: Arc<ControlCounters>,
    ) -> Result<Self, SlowPathError> {
        let (interface, mtu) = interface(&options.interface)?;
        let server_interface = options.server_interface.as_deref().map(self::interface).transpose()?;
        let mtu = server_interface.map_or(mtu, |(_, other)| mtu.min(other));
        let limits = Limits {
            head_limit: options.head_limit,
            head_timeout_ns: u64::try_from(options.head_timeout.as_nanos()).unwrap_or(u64::MAX),
            max_flows: options.max_collecting,
            max_memory_bytes: options.collect_memory_bytes,
        };
        let shared =
            Arc::new(Shared::new(dispatch, Arc::new(filters), counters, options.ticket_key, mtu, limits));
        let mut slow_path = Self { stop: Arc::default(), running: Arc::default(), threads: Vec::new() };
        for queue in 0..options.queues {
            let socket = open(options, interface, queue)?;
            insert(queue, socket.as_fd()).map_err(|source| SlowPathError::Insert { queue, source })?;
            let server_side = server_side(options, server_interface.map(|(index, _)| index))?;
            let engine = Engine::new(shared.clone());
            slow_path.spawn(queue, &options.interface, Queue { socket, server_side, engine })?;
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

fn open(options: &SlowPathOptions, index: u32, queue: u32) -> Result<QueueSocket, SlowPathError> {
    let interface = || options.interface.clone();
    let socket = QueueSocket::open(index, queue, options.copy_only).map_err(|error| match error {
        OpenError::SetUp(reason) => SlowPathError::SetUp { interface: interface(), queue, reason },
        OpenError::Bind(source) => SlowPathError::Bind { interface: interface(), queue, source },
    })?;
    let way = if socket.is_zero_copy() { "without copies" } else { "with copies" };
    tracing::info!("slow path listens on {} queue {queue}, {way}", options.interface);
    Ok(socket)
}

fn server_side(options: &SlowPathOptions, index: Option<u32>) -> Result<Option<ServerSide>, SlowPathError> {
    let open = |index| {
        ServerSide::open(index).map_err(|source| SlowPathError::ServerSide {
            interface: options.server_interface.clone().unwrap_or_default(),
            source,
        })
    };
    index.map(open).transpose()
}

/// Index and MTU of an interface, asked of the kernel rather than /sys, which may show another network namespace.
fn interface(name: &str) -> Result<(u32, usize), SlowPathError> {
    let unusable = |source| SlowPathError::Interface { interface: name.to_owned(), source };
    let index = nix::net::if_::if_nametoindex(name).map_err(|error| unusable(error.into()))?;
    let mtu = mtu(name).map_err(unusable)?;
    let (least, most) = (collect::MIN_MTU, socket::MAX_MTU);
    if (least..=most).contains(&mtu) {
        Ok((index, mtu))
    } else {
        Err(SlowPathError::Mtu { interface: name.to_owned(), mtu, least, most })
    }
}

fn mtu(name: &str) -> io::Result<usize> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::]:0"))?;
    // SAFETY: all zeroes is a request without content.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU of an ifreq.
    if unsafe { libc::ioctl(fd, libc::SIOCGIFMTU, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled this member in.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

//! One AF_XDP socket on one RX queue: its memory, its four rings and the system calls that drive them. What is in the frames
//! is not looked at here.
//!
//! Every packet taken from the socket is given back by `send` or `free`; the fill ring gets exactly as many frames as were
//! received. A socket gets frames of its own queue only, so there is one for each.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use xdp::{
    Packet, RingConfigBuilder, Rings, Umem,
    nic::NicIndex,
    slab::{HeapSlab, Slab},
    socket::{PollTimeout, SocketError, XdpSocket, XdpSocketBuilder},
    umem::{FrameSize, UmemCfgBuilder},
};

/// Bytes of one frame's memory. The kernel keeps 256 of them and we [`HEAD_ROOM`].
const FRAME_BYTES: usize = 4096;

/// Bytes before each received frame: the kernel's metadata and the ticket grow into them; a cache line, so frames stay aligned.
const HEAD_ROOM: u32 = 64;

/// Largest MTU whose frames fit.
pub(super) const MAX_MTU: usize = FRAME_BYTES - 256 - HEAD_ROOM as usize - super::frame::ETHERNET_LEN;

/// Frames that can wait for us: at 1 million requests a second a millisecond's worth.
const RING_FRAMES: u32 = 1024;

/// Frames of one socket, 16 MiB: a full fill ring, a full RX ring, a full TX ring and as many in flight.
const UMEM_FRAMES: u32 = 4 * RING_FRAMES;

/// After a process died the kernel frees its queue up to 50 ms later (RCU); so long a new one gets EBUSY.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// How long to try.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// System calls to send one batch: the kernel takes 32 frames a call in copy mode, and waits for the device's ring.
const MAX_KICKS: usize = 1000;

/// Memory of frames on their way out of a copy-mode socket; the default holds about a hundred.
const SEND_BUFFER_BYTES: libc::c_int = 4 << 20;

/// `XDP_OPTIONS` and its zero-copy flag (linux/if_xdp.h).
const XDP_OPTIONS: libc::c_int = 8;
const XDP_OPTIONS_ZEROCOPY: u32 = 1;

/// A bound socket. Fields drop in order: the rings before the memory they point into.
pub(super) struct QueueSocket {
    rings: Rings,
    socket: XdpSocket,
    umem: Umem,
    zero_copy: bool,
    /// Frames that the fill ring is to get back.
    owed: usize,
    /// Frames in the TX ring or on the wire.
    in_flight: usize,
}

/// Why a socket could not be made.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Memory or rings could not be set up.
    SetUp(String),
    /// The queue is taken, absent, or the interface is down.
    Bind(io::Error),
}

impl QueueSocket {
    /// Opens a socket on a queue. Zero-copy is tried first unless `copy_only` (generic XDP has only copies).
    pub(super) fn open(interface: u32, queue: u32, copy_only: bool) -> Result<Self, OpenError> {
        let start = Instant::now();
        loop {
            match Self::try_open(interface, queue, copy_only) {
                Err(OpenError::Bind(error))
                    if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < BIND_PATIENCE =>
                {
                    thread::sleep(BIND_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn try_open(interface: u32, queue: u32, copy_only: bool) -> Result<Self, OpenError> {
        let set_up = |error: &dyn std::fmt::Display| OpenError::SetUp(error.to_string());
        let config = UmemCfgBuilder {
            frame_size: FrameSize::FourK,
            head_room: HEAD_ROOM,
            frame_count: UMEM_FRAMES,
            ..UmemCfgBuilder::default()
        };
        let mut umem = Umem::map(config.build().map_err(|e| set_up(&e))?).map_err(|e| set_up(&e))?;
        let ring_config = RingConfigBuilder {
            rx_count: RING_FRAMES,
            tx_count: RING_FRAMES,
            fill_count: RING_FRAMES,
            completion_count: RING_FRAMES,
        };
        let ring_config = ring_config.build().map_err(|e| set_up(&e))?;
        let mut builder = XdpSocketBuilder::new().map_err(|e| set_up(&e))?;
        let (mut rings, mut bind_flags) = builder.build_rings(&umem, ring_config).map_err(|e| set_up(&e))?;
        if copy_only {
            bind_flags.force_copy();
        }
        // SAFETY: the socket goes with `Self`, whose memory is dropped after it.
        unsafe { rings.fill_ring.enqueue(&mut umem, RING_FRAMES as usize) };
        let socket = builder.bind(NicIndex(interface), queue, bind_flags).map_err(|error| match error {
            SocketError::Bind(error) => OpenError::Bind(error),
            other => OpenError::SetUp(other.to_string()),
        })?;
        let zero_copy = is_zero_copy(&socket);
        enlarge_send_buffer(&socket);
        Ok(Self { rings, socket, umem, zero_copy, owed: 0, in_flight: 0 })
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Waits until frames are there; false after the time-out. An error of the device ends the socket.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        if self.socket.poll_read(PollTimeout::new(Some(timeout)))? {
            return Ok(true);
        }
        self.pending_error().map_or(Ok(false), Err)
    }

    /// What `SO_ERROR` holds: ENETDOWN when the device went.
    pub(super) fn pending_error(&self) -> Option<io::Error> {
        let number = socket_option::<libc::c_int>(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR).ok()?;
        (number != 0).then(|| io::Error::from_raw_os_error(number))
    }

    /// Takes received frames, as many as there is room for in the slab.
    pub(super) fn receive(&mut self, slab: &mut HeapSlab) -> usize {
        let Some(rx) = &mut self.rings.rx_ring else { return 0 };
        // SAFETY: the caller gives every packet back before this socket and its memory go.
        let count = unsafe { rx.recv(&self.umem, slab) };
        self.owed += count;
        count
    }

    /// A packet with these bytes; `None` when all memory is in use or the bytes are too many.
    pub(super) fn allocate(&mut self, bytes: &[u8]) -> Option<Packet> {
        if self.umem.allocatable() == 0 {
            self.reap();
        }
        // SAFETY: as in `receive`.
        let mut packet = unsafe { self.umem.alloc() }?;
        if packet.append(bytes).is_err() {
            self.umem.free_packet(packet);
            return None;
        }
        Some(packet)
    }

    pub(super) fn free(&mut self, packet: Packet) {
        self.umem.free_packet(packet);
    }

    /// Sends a batch; when it returns, copy mode has handed every frame to the device. Returns how many were not sent.
    pub(super) fn send(&mut self, slab: &mut HeapSlab) -> usize {
        let count = slab.len();
        if count == 0 {
            return 0;
        }
        let mut queued = self.queue(slab);
        if queued == 0 {
            // The ring takes all or nothing; give the device a chance to empty it.
            self.kick();
            queued = self.queue(slab);
        }
        self.kick();
        if self.zero_copy {
            self.settle();
        }
        while let Some(packet) = slab.pop_back() {
            self.umem.free_packet(packet);
        }
        count - queued
    }

    fn queue(&mut self, slab: &mut HeapSlab) -> usize {
        self.reap();
        let Some(tx) = &mut self.rings.tx_ring else { return 0 };
        // SAFETY: the packets are of this socket's memory, which outlives the socket.
        let queued = unsafe { tx.send(slab) };
        self.in_flight += queued;
        queued
    }

    /// Makes the kernel look at the TX ring until it has taken all. What it does not take now goes with the next batch.
    fn kick(&mut self) {
        for attempt in 0..MAX_KICKS {
            // SAFETY: sends no data of ours; the kernel only looks at the TX ring.
            let result = unsafe {
                libc::sendto(
                    self.socket.raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            let again = [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::EINTR];
            if result >= 0 || !io::Error::last_os_error().raw_os_error().is_some_and(|e| again.contains(&e)) {
                return;
            }
            self.reap();
            // The first few only mean that the batch was longer than the kernel's.
            if attempt > RING_FRAMES as usize / 32 {
                thread::yield_now();
            }
        }
    }

    /// A zero-copy device sends on its own time: waits a little for it, so that a filter is not flipped before.
    fn settle(&mut self) {
        for _ in 0..MAX_KICKS {
            self.reap();
            if self.in_flight == 0 {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn reap(&mut self) {
        let done = self.rings.completion_ring.dequeue(&mut self.umem, RING_FRAMES as usize);
        self.in_flight = self.in_flight.saturating_sub(done);
    }

    /// Gives the fill ring what was received.
    pub(super) fn refill(&mut self) {
        self.reap();
        // SAFETY: as in `try_open`.
        self.owed -= unsafe { self.rings.fill_ring.enqueue(&mut self.umem, self.owed) };
    }
}

impl AsFd for QueueSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor lives as long as the socket.
        unsafe { BorrowedFd::borrow_raw(self.socket.raw_fd()) }
    }
}

fn is_zero_copy(socket: &XdpSocket) -> bool {
    socket_option::<u32>(socket, libc::SOL_XDP, XDP_OPTIONS)
        .is_ok_and(|options| options & XDP_OPTIONS_ZEROCOPY != 0)
}

/// Best effort: without it fewer frames are in flight at once.
fn enlarge_send_buffer(socket: &impl AsRawFd) {
    let _ = set_socket_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
}

pub(super) fn set_socket_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socket_option<T: Default + Copy>(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes into an integer.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, std::ptr::from_mut(&mut value).cast(), &mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

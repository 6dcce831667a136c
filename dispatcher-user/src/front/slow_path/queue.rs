//! The loop of one queue's thread: take a batch, let the engine deal with each frame, send, then write the filters. No blocking
//! I/O but the wait for frames, and no allocation on the quick way.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dispatcher_common::{counter::ControlCounter, epoch::Epoch};
use xdp::{
    Packet,
    slab::{HeapSlab, Slab},
};

use super::{
    engine::{Engine, Now, Verdict},
    frame::ROOM,
    outbox::{Outbox, Side},
    server_side::ServerSide,
    socket::QueueSocket,
};

/// Frames taken at once: enough to spread the system calls, few enough to stay in the first-level cache.
const BATCH: usize = 64;

/// Frames sent at once: a batch and what one frame may make of it, a collected head in the smallest segments.
const SEND_BATCH: usize = 256;

/// Wait for frames when nothing is due; also the longest that a stop takes.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// Wait while heads are being collected, which have times to keep.
const COLLECTING_WAIT: Duration = Duration::from_millis(20);

/// One queue.
pub(super) struct Queue {
    pub(super) socket: QueueSocket,
    /// `None` in one-arm mode, where servers are behind the same interface as clients.
    pub(super) server_side: Option<ServerSide>,
    pub(super) engine: Engine,
}

/// Packets on their way through a queue; they hold pointers, so they are made in the thread.
struct Packets {
    received: HeapSlab,
    /// To clients, and in one-arm mode to servers.
    sending: HeapSlab,
    /// To servers in two-arm mode.
    to_servers: Vec<Packet>,
    outbox: Outbox,
}

impl Queue {
    /// Runs until told to stop, or the device is gone.
    pub(super) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut packets = Packets {
            received: HeapSlab::with_capacity(BATCH),
            sending: HeapSlab::with_capacity(SEND_BATCH),
            to_servers: Vec::with_capacity(SEND_BATCH),
            outbox: Outbox::default(),
        };
        while !stop.load(Ordering::Relaxed) {
            let wait = if self.engine.shared.is_collecting() { COLLECTING_WAIT } else { IDLE_WAIT };
            let ready = self.socket.wait(wait)?;
            let taken = self.batch(&mut packets);
            if ready && taken == 0 {
                self.socket.pending_error().map_or(Ok(()), Err)?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, packets: &mut Packets) -> usize {
        let taken = self.socket.receive(&mut packets.received);
        let now = read_clocks();
        while let Some(packet) = packets.received.pop_back() {
            self.frame(packet, now, packets);
        }
        self.engine.tick(now, &mut packets.outbox);
        self.take_built(packets);
        self.transmit(packets);
        self.engine.flush();
        self.socket.refill();
        taken
    }

    fn frame(&mut self, mut packet: Packet, now: Now, packets: &mut Packets) {
        let verdict = match packet.adjust_head(-(ROOM as i32)) {
            Ok(()) => self.engine.handle(&mut packet, now, &mut packets.outbox),
            Err(_) => Verdict::Drop,
        };
        if !packets.outbox.is_empty() {
            self.take_built(packets);
        }
        match verdict {
            Verdict::Send { start, end } if cut(&mut packet, start, end) => {
                self.push(packet, Side::Server, packets);
            }
            _ => self.socket.free(packet),
        }
    }

    /// Moves built frames into packets, in order.
    fn take_built(&mut self, packets: &mut Packets) {
        let outbox = std::mem::take(&mut packets.outbox);
        for (side, bytes) in outbox.frames() {
            match self.socket.allocate(bytes) {
                Some(packet) => self.push(packet, side, packets),
                None => self.count_failed(1),
            }
        }
        packets.outbox = outbox;
        packets.outbox.clear();
    }

    fn push(&mut self, packet: Packet, side: Side, packets: &mut Packets) {
        if packets.sending.available() == 0 || packets.to_servers.len() == SEND_BATCH {
            self.transmit(packets);
        }
        if side == Side::Server && self.server_side.is_some() {
            packets.to_servers.push(packet);
        } else if let Some(packet) = packets.sending.push_front(packet) {
            self.socket.free(packet);
            self.count_failed(1);
        }
    }

    fn transmit(&mut self, packets: &mut Packets) {
        let mut failed = self.socket.send(&mut packets.sending);
        if let Some(server_side) = &self.server_side {
            failed += server_side.send(&packets.to_servers);
            for packet in packets.to_servers.drain(..) {
                self.socket.free(packet);
            }
        }
        if failed > 0 {
            self.count_failed(failed as u64);
        }
    }

    fn count_failed(&self, frames: u64) {
        self.engine.shared.counters.add(ControlCounter::TransmitFailed, frames);
    }
}

/// Makes a packet begin and end where the verdict says, counted from its first byte.
fn cut(packet: &mut Packet, start: usize, end: usize) -> bool {
    packet.adjust_head(start as i32).is_ok()
        && packet.adjust_tail((end - start) as i32 - packet.len() as i32).is_ok()
}

/// The clocks that the kernel's program goes by; both are read without a system call.
fn read_clocks() -> Now {
    Now {
        ns: clock_ns(libc::CLOCK_MONOTONIC_COARSE),
        epoch: Epoch::at(clock_ns(libc::CLOCK_REALTIME_COARSE)),
    }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

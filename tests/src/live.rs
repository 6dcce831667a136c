//! A flood of SYNs as fast as the kernel can make them: a small XDP program, run by the kernel millions of times on one frame
//! (`BPF_PROG_TEST_RUN` with live frames, Linux 5.18), gives each copy another source and sends it into the front-end.

use std::{io, os::fd::AsRawFd};

use anyhow::{Context, Result, ensure};

use crate::{
    Rig,
    pass::{Kind, bpf, instruction as op, load},
    wire::{Flags, Offer, Segment},
};

const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Frames of one system call.
const PORTION: u32 = 50_000;

const SOURCE: usize = 26;
const SOURCE_LOW: usize = 28;
const SOURCE_PORT: usize = 34;
const SEQUENCE: usize = 38;
const PRANDOM: u32 = 7;

/// Where the SYNs of a flood claim to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoofed {
    /// Addresses of 198.19.0.0/16.
    Near,
    /// Any IPv4 addresses.
    Anywhere,
}

/// Writes the frame, but for the IPv4 source or its lower half, the source port and the sequence number, which are random, and
/// sends it. All of it, as the kernel takes its pages again with what became of the frame in them before.
fn program(frame: &[u8], spoofed: Spoofed) -> Result<Vec<u64>> {
    let words = frame.chunks_exact(4).enumerate();
    let store = words
        .map(|(at, word)| op(0x62, 7, 0, 4 * at, u32::from_ne_bytes([word[0], word[1], word[2], word[3]])));
    let rest = frame.chunks_exact(4).remainder();
    let at = frame.len() - rest.len();
    let store =
        store.chain(rest.iter().enumerate().map(|(i, byte)| op(0x72, 7, 0, at + i, u32::from(*byte))));
    let store: Vec<u64> = store.collect();
    let start = [
        op(0x61, 7, 1, 0, 0),                           // r7 = ctx->data
        op(0x61, 3, 1, 4, 0),                           // r3 = ctx->data_end
        op(0xbf, 4, 7, 0, 0),                           // r4 = r7
        op(0x07, 4, 0, 0, u32::try_from(frame.len())?), // r4 += length
        op(0x2d, 4, 3, store.len() + 9, 0),             // if r4 > r3 goto the drop
    ];
    let store_source = match spoofed {
        Spoofed::Near => op(0x6b, 7, 0, SOURCE_LOW, 0), // *(u16 *)(r7 + …) = r0
        Spoofed::Anywhere => op(0x63, 7, 0, SOURCE, 0), // *(u32 *)(r7 + …) = r0
    };
    let end = [
        op(0x85, 0, 0, 0, PRANDOM), // r0 = random
        store_source,
        op(0x77, 0, 0, 0, 16),          // r0 >>= 16
        op(0x47, 0, 0, 0, 1),           // r0 |= 1: no port is 0
        op(0x6b, 7, 0, SOURCE_PORT, 0), // *(u16 *)(r7 + …) = r0
        op(0x85, 0, 0, 0, PRANDOM),     // r0 = random
        op(0x63, 7, 0, SEQUENCE, 0),    // *(u32 *)(r7 + …) = r0
        op(0xb7, 0, 0, 0, 3),           // r0 = XDP_TX
        op(0x95, 0, 0, 0, 0),           // exit
        op(0xb7, 0, 0, 0, 1),           // r0 = XDP_DROP
        op(0x95, 0, 0, 0, 0),           // exit
    ];
    Ok([&start[..], &store, &end].concat())
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct Metadata {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_interface: u32,
    rx_queue: u32,
    egress_interface: u32,
}

/// Lets everybody go before the calling thread, which has the rest of its CPU.
fn give_way() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: of this thread; the structure outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    ensure!(result == 0, "cannot give way: {}", io::Error::last_os_error());
    Ok(())
}

impl Rig {
    /// Sends so many SYNs from random addresses to the service, straight into the front-end's link.
    ///
    /// # Errors
    /// If the kernel cannot run a program on live frames.
    pub fn flood_with_syns(&self, syns: u32, to_port: u16, spoofed: Spoofed) -> Result<()> {
        let vip = self.plan().address("vip", crate::Family::V4);
        let syn = Segment {
            source: ([198, 19, 0, 0], 1).into(),
            destination: (vip, to_port).into(),
            seq: 0,
            ack: 0,
            flags: Flags::SYN,
            window: 65_535,
            options: Offer::LINUX.encode(1),
            payload: Vec::new(),
            hop_limit: 60,
        };
        // As the scripted client's: nobody takes what is answered.
        let frame = syn.frame([2, 0, 0, 0, 1, 0x50], crate::wire::mac(&self.plan().mac("front"))?)?;
        self.host("switch")?.enter(|| flood(&frame, syns, spoofed))?
    }
}

fn flood(frame: &[u8], count: u32, spoofed: Spoofed) -> Result<()> {
    give_way()?;
    let program =
        load(Kind::Xdp, &program(frame, spoofed)?).context("cannot load the program that makes SYNs")?;
    // SAFETY: a C string.
    let interface = unsafe { libc::if_nametoindex(c"front".as_ptr()) };
    ensure!(interface != 0, "the switch has no port to the front-end");
    let data_end = u32::try_from(frame.len())?;
    let context = Metadata { data_end, ingress_interface: interface, ..Metadata::default() };
    let mut left = count;
    while left > 0 {
        let repeat = left.min(PORTION);
        let run = TestRun {
            program: u32::try_from(program.as_raw_fd())?,
            data_size_in: data_end,
            data_in: frame.as_ptr() as u64,
            repeat,
            context_size_in: u32::try_from(size_of::<Metadata>())?,
            context_in: (&raw const context) as u64,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            ..TestRun::default()
        };
        match bpf(BPF_PROG_TEST_RUN, &run) {
            Ok(_) => left -= repeat,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot run a program on live frames"),
        }
    }
    Ok(())
}

//! First requests per second through the slow path: AF_XDP, head parser, policy, filter-table, ticket, transmit.
//!
//! Frames with good cookies, each of another flow, are sent into the front-end as fast as one core can. The server that they go
//! to is a MAC address that the switch drops, so nothing but the front-end is measured. The slow-path thread has a core of its
//! own. The other core makes the frames, carries them over veth and bridge and runs the XDP program, about five times the work
//! of the thread, so the thread mostly waits; what a core of it can do follows from the CPU time that a request costs it, its
//! system calls and the sending included.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use dispatcher_common::{
    checksum::Sum, cookie, epoch::Epoch, siphash::SipKey, syn_options::SynOptions, tuple::Tuple,
};
use dispatcher_core::secret::Secret;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tests::{
    FrontOptions, Rig,
    wire::{Flags, PacketSocket, Segment, TcpOption, encode_options},
};

const RUN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const BATCH: usize = 64;
const ISN: u32 = 0x0102_0304;

/// Nobody's: the switch drops what is sent there.
const SINK: &str = "02:00:00:00:ee:ee";

/// Filters for all flows of a round.
const MAX_FILTERS: usize = 8 << 20;

fn main() -> Result<()> {
    if tests::skipped("first_requests") {
        return Ok(());
    }
    println!(
        "| round | offered/s | dispatched/s | slow-path thread busy | µs of it per request | requests/s of a busy core |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut rates: Vec<f64> = (1..=ROUNDS).map(round).collect::<Result<_>>()?;
    rates.sort_by(f64::total_cmp);
    println!("\nmedian: {:.0} first requests/s on a busy core of the slow path", rates[ROUNDS / 2]);
    Ok(())
}

fn round(number: usize) -> Result<f64> {
    let mut rig = Rig::builder("bench").servers(1).start()?;
    rig.host("switch")?.run(&format!("bridge fdb add {SINK} dev front master static"))?;
    rig.start_back("server1")?;
    let options = FrontOptions::default().alter(|text| {
        *text = text.replace("name = \"server1\"\n", &format!("name = \"server1\"\nmac = \"{SINK}\"\n"));
        *text = format!("max_filters = {MAX_FILTERS}\n{text}");
    });
    rig.start_front(&options)?;
    rig.wait_until_servers_up(Duration::from_secs(5))?;
    let front = rig.process("front")?.id();
    let thread = slow_path_thread(front)?;
    pin(thread, 1)?;
    pin(0, 0)?;
    let mut flood = Flood::new(&rig)?;
    let before = (dispatched(&rig)?, busy(front, thread)?, Instant::now());
    let offered = flood.send_for(RUN)?;
    let seconds = before.2.elapsed().as_secs_f64();
    let done = dispatched(&rig)? - before.0;
    let busy = busy(front, thread)?.checked_sub(before.1).unwrap_or_default().as_secs_f64();
    let rate = done as f64 / busy;
    println!(
        "| {number} | {:.0} | {:.0} | {:.0} % | {:.2} | {rate:.0} |",
        offered as f64 / seconds,
        done as f64 / seconds,
        100.0 * busy / seconds,
        1e6 / rate,
    );
    Ok(rate)
}

fn dispatched(rig: &Rig) -> Result<u64> {
    rig.counter("front", "request_dispatched")
}

fn pin(thread: i32, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(thread), &cores).context("cannot pin a thread")
}

/// The front-end's thread of queue 0, by its name.
fn slow_path_thread(process: u32) -> Result<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))?;
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.starts_with("slow-path") {
            return Ok(task.file_name().to_string_lossy().parse()?);
        }
    }
    anyhow::bail!("the front-end has no slow-path thread")
}

/// CPU time of a thread, user and system, by the scheduler's own clock: ticks are too coarse for work in short bursts.
fn busy(process: u32, thread: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"))?;
    let on_cpu_ns = stat.split_whitespace().next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(on_cpu_ns.parse()?))
}

/// An endless supply of first segments, each of another flow.
struct Flood {
    socket: PacketSocket,
    frames: Vec<Vec<u8>>,
    key: SipKey,
    vip: IpAddr,
    next: u32,
}

impl Flood {
    fn new(rig: &Rig) -> Result<Self> {
        let plan = rig.plan();
        let vip = plan.address("vip", tests::Family::V4);
        let request = "GET /images/logo.png HTTP/1.1\r\nHost: 198.18.0.100\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";
        let template = Segment {
            source: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            destination: SocketAddr::new(vip, 80),
            seq: ISN.wrapping_add(1),
            ack: 0,
            flags: Flags::PSH.and(Flags::ACK),
            window: 502,
            options: encode_options(&[TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(1, 1)]),
            payload: request.into(),
            hop_limit: 64,
        };
        let frame = template.frame(mac(&plan.mac("client"))?, mac(&plan.mac("front"))?)?;
        let secret = Secret::new(&format!("secret of the rig {}", plan.instance()))?;
        let socket = PacketSocket::open_for_sending(rig.host("client")?, "eth0")?;
        Ok(Self {
            socket,
            frames: vec![frame; BATCH],
            key: SipKey::from_bytes(secret.cookie_key()),
            vip,
            next: 0,
        })
    }

    fn send_for(&mut self, time: Duration) -> Result<u64> {
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
            for frame in &mut self.frames {
                retarget(frame, &self.key, self.vip, self.next, Epoch::at(now));
                self.next += 1;
            }
            self.socket.send_all(self.frames.iter().map(Vec::as_slice))?;
            sent += BATCH as u64;
        }
        Ok(sent)
    }
}

/// Makes a frame the first segment of flow number `flow`: another client address and port, its cookie, its checksums.
fn retarget(frame: &mut [u8], key: &SipKey, vip: IpAddr, flow: u32, now: Epoch) {
    const SOURCE: usize = 26;
    const PORT: usize = 34;
    const ACK: usize = 42;
    let client = Ipv4Addr::from(0xc613_0000 | flow >> 8 & 0xffff);
    let port = 1024 + (flow as u16 & 0xff) + ((flow >> 24) as u16 * 256);
    let tuple = Tuple {
        client: IpAddr::from(client).into(),
        vip: vip.into(),
        client_port_be: port.to_be(),
        port_be: 80_u16.to_be(),
    };
    let ack = cookie::make(key, &tuple, SynOptions::new(1460, Some(7), true), ISN, now).wrapping_add(1);
    replace(frame, SOURCE, &client.octets(), &[24, 50]);
    replace(frame, PORT, &port.to_be_bytes(), &[50]);
    replace(frame, ACK, &ack.to_be_bytes(), &[50]);
}

/// Overwrites bytes and updates the checksums that cover them.
fn replace(frame: &mut [u8], at: usize, new: &[u8], checksums: &[usize]) {
    for (i, pair) in new.chunks_exact(2).enumerate() {
        let place = at + 2 * i;
        let old = u16::from_ne_bytes([frame[place], frame[place + 1]]);
        let pair = u16::from_ne_bytes([pair[0], pair[1]]);
        for &checksum in checksums {
            let sum = u16::from_ne_bytes([frame[checksum], frame[checksum + 1]]);
            let updated = Sum::resume(sum).replace16(old, pair).finish();
            frame[checksum..checksum + 2].copy_from_slice(&updated.to_ne_bytes());
        }
        frame[place..place + 2].copy_from_slice(&pair.to_ne_bytes());
    }
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a MAC address has six bytes")
}

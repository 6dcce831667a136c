//! First requests a second on a core, live frames: each with a good cookie, each of another flow, sent into the front-end as fast as one
//! core can. The server that they go to is a MAC address that the switch drops, so nothing but the front-end is measured.
//!
//! The core that makes the frames carries them over veth and bridge, too, and runs the XDP program, about five times the work of the
//! slow path's thread, which has the other core. So what a core can do follows from what a request costs: nanoseconds of the XDP program, by
//! the kernel's account, and CPU time of the daemon, its system calls and the sending included. The class cache asks little of the daemon: it
//! learns what the program has dispatched.

mod account;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
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
    report::{Column, Section, Spread, Table},
    wire::{Flags, PacketSocket, Segment, TcpOption, encode_options},
};

use self::account::Accounting;

const RUN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const BATCH: usize = 64;
const ISN: u32 = 0x0102_0304;

/// Nobody's: the switch drops what is sent there.
const SINK: &str = "02:00:00:00:ee:ee";

/// Filters for all flows of a round.
const MAX_FILTERS: usize = 8 << 20;

/// How a first request is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    SlowPath,
    ClassCache,
}

impl Way {
    const ALL: [Self; 2] = [Self::SlowPath, Self::ClassCache];

    const fn name(self) -> &'static str {
        match self {
            Self::SlowPath => "slow path",
            Self::ClassCache => "class cache",
        }
    }

    /// Of the front-end: who went this way.
    const fn counter(self) -> &'static str {
        match self {
            Self::SlowPath => "request_dispatched",
            Self::ClassCache => "request_quick",
        }
    }

    /// For the beginning of the front-end's configuration.
    const fn setting(self) -> &'static str {
        match self {
            Self::SlowPath => "class_cache = 0\n",
            Self::ClassCache => "",
        }
    }
}

/// Of one round.
#[derive(Clone, Copy)]
struct Sample {
    offered: f64,
    dispatched: f64,
    /// The program's, in nanoseconds a request.
    program_ns: f64,
    /// The daemon's, all threads, in nanoseconds a request: deciding, or learning what the program decided.
    daemon_ns: f64,
}

impl Sample {
    /// Of a core that does nothing else.
    fn rate(&self) -> f64 {
        1e9 / (self.program_ns + self.daemon_ns)
    }
}

fn main() -> Result<()> {
    if tests::skipped("first_requests") {
        return Ok(());
    }
    let mut samples = vec![Vec::new(); Way::ALL.len()];
    for _ in 0..ROUNDS {
        for (way, samples) in Way::ALL.into_iter().zip(&mut samples) {
            samples.push(measure(way)?);
        }
    }
    section(&samples).publish()
}

fn section(samples: &[Vec<Sample>]) -> Section {
    let mut section = Section::new("first_requests", "First requests on a core");
    section.text(
        "A flood of first requests with good cookies, each of a new flow, to a server that is a MAC address which the switch drops. One core makes the frames and runs \
         XDP, the slow path's thread has the other. *A core* is what one would do that had nothing but first requests to do: its time divided by \
         that of the XDP program (the kernel's account, with its looks at the clock) and of the daemon (system calls and sending included). What the driver takes for a packet is the \
         network card's matter.",
    );
    section.text(format!("Medians of {ROUNDS} rounds, in brackets the least and the most."));
    let columns = [
        Column::text("way"),
        Column::number("offered", "1/s", 0),
        Column::number("dispatched", "1/s", 0),
        Column::number("XDP program", "ns", 0),
        Column::number("daemon", "ns", 0),
        Column::number("a core", "requests/s", 0),
    ];
    let mut table = Table::new("rates", columns);
    for (way, samples) in Way::ALL.into_iter().zip(samples) {
        let spread = |value: fn(&Sample) -> f64| Spread::of(&samples.iter().map(value).collect::<Vec<_>>());
        table.row([
            way.name().into(),
            spread(|sample| sample.offered).into(),
            spread(|sample| sample.dispatched).into(),
            spread(|sample| sample.program_ns).into(),
            spread(|sample| sample.daemon_ns).into(),
            spread(Sample::rate).into(),
        ]);
    }
    section.table(table);
    section
}

fn measure(way: Way) -> Result<Sample> {
    let accounting = Accounting::start()?;
    let mut rig = Rig::builder("bench").servers(1).start()?;
    rig.host("switch")?.run(&format!("bridge fdb add {SINK} dev front master static"))?;
    rig.start_back("server1")?;
    let options = FrontOptions::default().alter(move |text| {
        *text = text.replace("name = \"server1\"\n", &format!("name = \"server1\"\nmac = \"{SINK}\"\n"));
        *text = format!("max_filters = {MAX_FILTERS}\n{}{text}", way.setting());
    });
    rig.start_front(&options)?;
    rig.wait_until_servers_up(Duration::from_secs(5))?;
    let front = rig.process("front")?.id();
    let thread = slow_path_thread(front)?;
    pin(thread, 1)?;
    pin(0, 0)?;
    let mut flood = Flood::new(&rig)?;
    let counted = || rig.counter("front", way.counter());
    let programs = accounting.programs()?;
    let before = (counted()?, busy(front)?, programs.account("front")?, Instant::now());
    let offered = flood.send_for(RUN)? as f64;
    let seconds = before.3.elapsed().as_secs_f64();
    let dispatched = (counted()? - before.0) as f64;
    let busy = busy(front)?.saturating_sub(before.1);
    ensure!(dispatched > 0.0, "no request took the {}", way.name());
    Ok(Sample {
        offered: offered / seconds,
        dispatched: dispatched / seconds,
        program_ns: programs.account("front")?.since(before.2).mean_ns(),
        daemon_ns: busy.as_nanos() as f64 / dispatched,
    })
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

/// CPU time of a process, all threads, user and system, by the scheduler's own clock: ticks are too coarse for work in short bursts.
fn busy(process: u32) -> Result<Duration> {
    let mut on_cpu = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        let stat = std::fs::read_to_string(task.path().join("schedstat"))?;
        let on_cpu_ns = stat.split_whitespace().next().context("schedstat is empty")?;
        on_cpu += Duration::from_nanos(on_cpu_ns.parse()?);
    }
    Ok(on_cpu)
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

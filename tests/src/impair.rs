//! Links that lose, repeat and reorder packets, of which this kernel has no netem: a small program on the switch's ports takes
//! some of the packets that leave there out of their way, into a TAP device. The thread behind it draws what becomes of each: it
//! is lost, or comes twice, or comes late, after others that were sent after it.
//!
//! For rigs with one arm. Packets that are to be cut by the receiver's side count as one, so whoever wants every segment drawn
//! for itself switches segmentation offload off.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::{
    Host, Rig,
    pass::{Kind, bpf, instruction, load, own},
    wire::{PacketSocket, mac},
};

const SWITCH: &str = "switch";
const DETOUR: &str = "detour";
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_TCX_EGRESS: u32 = 47;

/// Where an IPv6 packet in its Ethernet frame says what it carries.
const NEXT_HEADER: u32 = 20;

/// Of packets that come back from the detour, which are not drawn again.
const MARK: u32 = 0x1de7;

/// A late packet comes at most so many microseconds later. Beside the rig's round trips of a few dozen microseconds that is long.
const LATEST_US: u64 = 6000;

/// The thread looks at least so often whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

const LARGEST_FRAME: usize = 2048;

/// What became of the packets into one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impaired {
    pub lost: u64,
    pub repeated: u64,
    pub late: u64,
}

/// Impaired links; dropping it makes them whole again.
#[derive(Debug)]
pub struct Impairment {
    _programs: Vec<OwnedFd>,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<BTreeMap<String, Impaired>>>,
    thread: Option<JoinHandle<()>>,
}

impl Impairment {
    /// From now on each of the three fates meets `share` of the packets to each host. What is drawn depends on `seed` and on the
    /// kernel's random numbers.
    ///
    /// # Errors
    /// If the kernel has no TAP devices or no TCX (Linux 6.6).
    pub fn start(rig: &Rig, share: f64, seed: u64) -> Result<Self> {
        let switch = rig.host(SWITCH)?;
        let tap = switch.enter(tap)?.context("cannot make a TAP device: is /dev/net/tun there?")?;
        switch.run(&format!("ip link set {DETOUR} up"))?;
        let ports = ports(rig, switch)?;
        let names: Vec<String> = ports.values().map(|port| port.name.clone()).collect();
        let programs = switch.enter(|| attach(&names, 3.0 * share))?.context("cannot impair the links")?;
        let stop = Arc::new(AtomicBool::new(false));
        let tally: Arc<Mutex<BTreeMap<String, Impaired>>> = Arc::default();
        let detour = Detour {
            tap,
            ports,
            random: Pcg64Mcg::seed_from_u64(seed),
            waiting: BTreeMap::new(),
            tally: Arc::clone(&tally),
        };
        let stopped = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || detour.run(&stopped)));
        Ok(Self { _programs: programs, stop, tally, thread })
    }

    /// What became of the packets to each host up to now.
    #[must_use]
    pub fn tally(&self) -> BTreeMap<String, Impaired> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Impairment {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port of the switch, and the way into it.
#[derive(Debug)]
struct Port {
    name: String,
    socket: PacketSocket,
}

/// The switch's ports by the MAC addresses of the hosts behind them.
fn ports(rig: &Rig, switch: &Host) -> Result<BTreeMap<[u8; 6], Port>> {
    let plan = rig.plan();
    let names = ["client".to_owned(), "front".to_owned()].into_iter().chain(plan.server_names());
    let port = |name: String| {
        let socket = PacketSocket::open_for_sending(switch, &name)?;
        socket.mark(MARK)?;
        Ok((mac(&plan.mac(&name))?, Port { name, socket }))
    };
    names.map(port).collect()
}

fn tap() -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DETOUR.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: `request` is an ifreq that lives through the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if made < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

#[repr(C)]
struct LinkAttributes {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

fn attach(ports: &[String], share: f64) -> Result<Vec<OwnedFd>> {
    let program = load(Kind::TrafficControl, &program(index(DETOUR)?, share))?;
    let program = u32::try_from(program.as_raw_fd()).map(|number| (number, program))?;
    let attach = |port: &String| {
        let attributes = LinkAttributes {
            program: program.0,
            interface: index(port)?,
            attach_type: BPF_TCX_EGRESS,
            flags: 0,
        };
        Ok(own(bpf(BPF_LINK_CREATE, &attributes)?)?)
    };
    ports.iter().map(attach).collect()
}

fn index(interface: &str) -> Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "interface {interface} does not exist");
    Ok(index)
}

/// Sends `share` of the IP packets that have not been there to the detour. Not those of ICMPv6, by which IPv6 finds neighbours: of
/// a lost one the kernel knows after a second, which a client takes for the round-trip time, and waits three for what is lost next.
#[rustfmt::skip]
fn program(detour: u32, share: f64) -> [u64; 17] {
    let op = instruction;
    let limit = (share * f64::from(u32::MAX)) as u32;
    let protocol = |number: i32| u32::from((number as u16).to_be());
    [
        op(0xbf, 6, 1, 0, 0),                                  // r6 = skb
        op(0x61, 2, 1, 8, 0),                                  // r2 = skb->mark
        op(0x15, 2, 0, 12, MARK),                              // if r2 == MARK goto pass
        op(0x61, 2, 1, 16, 0),                                 // r2 = skb->protocol
        op(0x15, 2, 0, 3, protocol(libc::ETH_P_IP)),           // if r2 == IPv4 goto draw
        op(0x55, 2, 0, 9, protocol(libc::ETH_P_IPV6)),         // if r2 != IPv6 goto pass
        op(0x30, 0, 0, 0, NEXT_HEADER),                        // r0 = byte of the packet
        op(0x15, 0, 0, 7, libc::IPPROTO_ICMPV6 as u32),        // if r0 == ICMPv6 goto pass
        op(0x85, 0, 0, 0, 7),                                  // draw: r0 = random
        op(0xb4, 1, 0, 0, limit),                              // w1 = limit
        op(0x2e, 0, 1, 4, 0),                                  // if w0 > w1 goto pass
        op(0xb7, 1, 0, 0, detour),                             // r1 = interface
        op(0xb7, 2, 0, 0, 0),                                  // r2 = 0
        op(0x85, 0, 0, 0, 23),                                 // r0 = redirect
        op(0x95, 0, 0, 0, 0),                                  // exit
        op(0xb7, 0, 0, 0, 0),                                  // pass: r0 = TC_ACT_OK
        op(0x95, 0, 0, 0, 0),                                  // exit
    ]
}

/// The thread behind the TAP device.
struct Detour {
    tap: File,
    ports: BTreeMap<[u8; 6], Port>,
    random: Pcg64Mcg,
    /// Late packets by the time they are due and a number that tells them apart.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    tally: Arc<Mutex<BTreeMap<String, Impaired>>>,
}

impl Detour {
    fn run(mut self, stop: &AtomicBool) {
        let mut frame = [0; LARGEST_FRAME];
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            self.send_due();
            self.wait();
            while let Ok(length) = self.tap.read(&mut frame) {
                number += 1;
                self.draw(&frame[..length], number);
            }
        }
    }

    fn draw(&mut self, frame: &[u8], number: u64) {
        let Some(port) = self.port(frame) else { return };
        let name = port.name.clone();
        let fate = self.random.random_range(0..3);
        let due = Instant::now() + Duration::from_micros(self.random.random_range(0..LATEST_US));
        if fate != 0 {
            self.waiting.insert((due, number), frame.to_vec());
        }
        if fate == 1 {
            self.send(frame);
        }
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let of_link = tally.entry(name).or_default();
        *[&mut of_link.lost, &mut of_link.repeated, &mut of_link.late][fate] += 1;
    }

    fn send_due(&mut self) {
        let later = self.waiting.split_off(&(Instant::now(), u64::MAX));
        for frame in std::mem::replace(&mut self.waiting, later).into_values() {
            self.send(&frame);
        }
    }

    /// A link that has gone down loses its packets.
    fn send(&self, frame: &[u8]) {
        let _ = self.port(frame).map(|port| port.socket.send(frame));
    }

    /// The port to the frame's destination.
    fn port(&self, frame: &[u8]) -> Option<&Port> {
        self.ports.get(frame.first_chunk::<6>()?)
    }

    /// Until there is a packet or one is due.
    fn wait(&self) {
        let left = self.waiting.keys().next().map_or(LOOK, |(due, _)| due.duration_since(Instant::now()));
        let mut poll = libc::pollfd { fd: self.tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(left.min(LOOK).subsec_nanos()) };
        // SAFETY: `poll` is one valid entry, `time` outlives the call, and no signal mask is given.
        unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
    }
}

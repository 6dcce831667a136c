//! A server in a network namespace of its own, that ends with the test's thread: a veth pair of which one end has the programs
//! attached, the VIPs on `lo`, and a raw socket on the other end to play front-end and client.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{TcAttachOptions, TcError},
    },
};
use dispatcher_common::{
    counter::BackCounter,
    filter::FlowKey,
    server::{ClassStats, ServerFlow},
    service::{ServiceEntry, ServiceKey},
    settings::BackSettings,
};
use dispatcher_user::{
    kernel::{btf::KernelTypes, clock, kfunc},
    objects,
};
use nix::sched::{CloneFlags, unshare};

use super::frame::KEY;

pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Index of the service of the test's family in every map.
pub const SERVICE: u16 = 3;

/// The programs, attached.
pub struct Lab {
    pub ebpf: Ebpf,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    raw: super::raw::RawSocket,
    seen: Vec<u64>,
}

const ADDRESSES: [(&str, &str); 2] =
    [("198.18.0.1:40000", "198.18.0.100:80"), ("[2001:db8::1]:40000", "[2001:db8::100]:80")];

/// Runs a test for each family, each in a namespace of its own; or says why not.
pub fn both_families(test: fn(&mut Lab)) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces and eBPF need root");
        return;
    }
    for (client, vip) in ADDRESSES {
        let run = move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            test(&mut Lab::start(client.parse().unwrap(), vip.parse().unwrap()));
        };
        if let Err(cause) = thread::Builder::new().name(vip.into()).spawn(run).unwrap().join() {
            std::panic::resume_unwind(cause);
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

pub fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn wire() {
    for key in ["ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/default/accept_dad"] {
        sysctl(key, "0");
    }
    ip("link set lo up");
    ip("link add client type veth peer name server");
    ip("link set client address 02:00:00:00:00:01 up");
    ip("link set server address 02:00:00:00:00:0b up");
    ip("addr add 198.18.0.11/24 dev server");
    ip("addr add 2001:db8::11/64 dev server nodad");
    ip("addr add 198.18.0.100/32 dev lo");
    ip("addr add 2001:db8::100/128 dev lo nodad");
    ip("neigh add 198.18.0.1 lladdr 02:00:00:00:00:01 dev server");
    ip("neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev server");
}

fn load() -> Ebpf {
    let types = KernelTypes::read().unwrap();
    let object = kfunc::link(objects::BACK, types.function_id(kfunc::FUNCTION)).unwrap();
    let mut ebpf = EbpfLoader::new().load(&object).unwrap();
    let settings = BackSettings {
        ticket_key: KEY,
        clock_offset_ns: clock::offset_ns(),
        tw_rcv_nxt_offset: types.require("sock_common", "skc_tw_rcv_nxt").unwrap(),
        is_mptcp_offset: types.member_offset("tcp_sock", "is_mptcp").unwrap_or(0),
        ..BackSettings::default()
    };
    Array::<_, BackSettings>::try_from(ebpf.map_mut("SETTINGS").unwrap())
        .unwrap()
        .set(0, settings, 0)
        .unwrap();
    for (name, hook) in [("back", TcAttachType::Ingress), ("back_out", TcAttachType::Egress)] {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
        let attached =
            program.attach_with_options("server", hook, TcAttachOptions::TcxOrder(LinkOrder::default()));
        attached.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let _: Option<TcError> = None;
    ebpf
}

impl Lab {
    fn start(client: SocketAddr, vip: SocketAddr) -> Self {
        wire();
        let mut ebpf = load();
        let mut services: HashMap<_, ServiceKey, ServiceEntry> =
            ebpf.map_mut("SERVICES").unwrap().try_into().unwrap();
        let key = ServiceKey::new(vip.ip().into(), vip.port().to_be());
        services.insert(key, ServiceEntry { id: SERVICE, ..ServiceEntry::default() }, 0).unwrap();
        let raw = super::raw::RawSocket::open("client");
        let mut lab = Self { ebpf, client, vip, raw, seen: Vec::new() };
        lab.seen = lab.totals();
        lab
    }

    /// Puts a frame on the wire to the server.
    pub fn send(&self, segment: &super::frame::Segment) {
        self.raw.send(&segment.frame());
    }

    /// Waits until a counter has moved since the last call for it.
    pub fn expect(&mut self, counter: BackCounter) {
        self.expect_n(counter, 1);
    }

    /// Waits until a counter has moved by so much.
    pub fn expect_n(&mut self, counter: BackCounter, times: u64) {
        let index = counter.index() as usize;
        let wanted = self.seen[index] + times;
        let found = self.wait(|lab| {
            let found = lab.totals()[index];
            (found >= wanted).then_some(found)
        });
        assert_eq!(found, Some(wanted), "{}: {}; now {:?}", self.vip, counter.name(), self.moved());
        self.seen[index] = wanted;
    }

    /// Asserts that a counter has not moved.
    pub fn unmoved(&self, counter: BackCounter) {
        let index = counter.index() as usize;
        assert_eq!(self.totals()[index], self.seen[index], "{}: {}", self.vip, counter.name());
    }

    fn moved(&self) -> Vec<(&'static str, u64)> {
        let totals = self.totals();
        let moved = BackCounter::ALL.iter().map(|counter| {
            let index = counter.index() as usize;
            (counter.name(), totals[index] - self.seen[index])
        });
        moved.filter(|(_, by)| *by != 0).collect()
    }

    /// Asks until there is an answer, for two seconds.
    pub fn wait<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            let answer = ask(self);
            if answer.is_some() || start.elapsed() > Duration::from_secs(2) {
                return answer;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn totals(&self) -> Vec<u64> {
        let counters: PerCpuArray<_, u64> = self.ebpf.map("COUNTERS").unwrap().try_into().unwrap();
        (0..BackCounter::ALL.len() as u32)
            .map(|index| counters.get(&index, 0).unwrap().iter().sum())
            .collect()
    }

    /// Statistics of a class, over all CPUs.
    pub fn class(&self, class: u16) -> ClassStats {
        let stats: PerCpuArray<_, ClassStats> = self.ebpf.map("CLASS_STATS").unwrap().try_into().unwrap();
        stats.get(&u32::from(class), 0).unwrap().iter().fold(ClassStats::default(), |sum, cpu| ClassStats {
            arrived: sum.arrived + cpu.arrived,
            answered: sum.answered + cpu.answered,
            abandoned: sum.abandoned + cpu.abandoned,
            service_ns: sum.service_ns + cpu.service_ns,
        })
    }

    /// Requests held by the server.
    pub fn held(&self) -> u64 {
        let held: Array<_, u64> = self.ebpf.map("HELD").unwrap().try_into().unwrap();
        held.get(&0, 0).unwrap()
    }

    /// The flow-table.
    pub fn flows(&mut self) -> HashMap<&mut MapData, FlowKey, ServerFlow> {
        self.ebpf.map_mut("FLOWS").unwrap().try_into().unwrap()
    }

    /// Key of the client's flow.
    pub fn flow_key(&self) -> FlowKey {
        FlowKey::new(self.client.ip().into(), self.client.port().to_be(), SERVICE)
    }
}

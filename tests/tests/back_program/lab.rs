//! A server in the network namespace of the calling thread: a veth pair of which one end has the programs attached, the VIPs
//! on `lo`, and a packet socket on the other end to play front-end and client.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{
        CgroupAttachMode, LinkOrder, ProgramFd, SchedClassifier, SockOps, TcAttachType, tc::TcAttachOptions,
    },
};
use dispatcher_common::{
    counter::BackCounter as Counter,
    filter::FlowKey,
    server::{ClassStats, ServerFlow},
    service::{ServiceEntry, ServiceKey},
    settings::BackSettings,
};
use dispatcher_user::{
    kernel::{btf::KernelTypes, cgroup, clock, kfunc},
    objects,
};

use crate::{
    answer::Answer,
    frame::{KEY, Segment},
    raw::RawSocket,
};

pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Index of the service in every map.
const SERVICE: u16 = 3;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The programs, attached.
pub(crate) struct Lab {
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    ebpf: Ebpf,
    raw: RawSocket,
    /// Counters as far as they were expected to move, in map order.
    seen: Vec<u64>,
    expected: Vec<Counter>,
    skipped: bool,
}

impl Lab {
    pub(crate) fn start(client: SocketAddr, vip: SocketAddr) -> Self {
        wire();
        let mut ebpf = load();
        let mut services: HashMap<_, ServiceKey, ServiceEntry> =
            ebpf.map_mut("SERVICES").unwrap().try_into().unwrap();
        let key = ServiceKey::new(vip.ip().into(), vip.port().to_be());
        services.insert(key, ServiceEntry { id: SERVICE, ..ServiceEntry::default() }, 0).unwrap();
        let raw = RawSocket::open("client");
        let seen = vec![0; Counter::ALL.len()];
        let mut lab = Self { client, vip, ebpf, raw, seen, expected: Vec::new(), skipped: false };
        lab.seen = lab.totals();
        lab
    }

    /// Ends a scenario that this kernel cannot play.
    pub(crate) fn skip(&mut self, reason: &str) {
        eprintln!("skipped: {reason}");
        self.skipped = true;
    }

    /// Puts a segment on the wire to the server.
    pub(crate) fn send(&self, segment: &Segment) {
        self.send_frame(&segment.frame());
    }

    pub(crate) fn send_frame(&self, frame: &[u8]) {
        self.raw.send(frame);
    }

    /// Waits for a segment of the server, past those that are not wanted.
    pub(crate) fn answer(&self, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let next = |lab: &Self| {
            let frames = std::iter::from_fn(|| lab.raw.receive());
            frames.filter_map(|frame| Answer::read(&frame)).find(|answer| wanted(answer))
        };
        self.wait(next).expect("an answer")
    }

    /// Puts a segment on the wire that seems to have been queued again so many times.
    pub(crate) fn send_again(&self, segment: &Segment, times: u32) {
        self.raw.send_marked(&segment.frame(), 0xd15b_a600 | times);
    }

    /// Waits for a segment of the client's own, and asserts that it is just this.
    pub(crate) fn assert_sent_back(&self, expected: &Segment) {
        let found = self.try_sent_back().unwrap_or_else(|| panic!("nothing; moved: {:?}", self.moved()));
        assert_eq!(found, expected.frame_back());
    }

    /// Waits for the frame of a segment of the client's own.
    pub(crate) fn try_sent_back(&self) -> Option<Vec<u8>> {
        self.wait(|lab| {
            let mut frames = std::iter::from_fn(|| lab.raw.receive());
            frames.find(|frame| frame[..6] == CLIENT_MAC && is_from(frame, lab.client.ip()))
        })
    }

    /// Asserts that nothing of the kind has come from the server so far.
    pub(crate) fn assert_no_answer(&self, unwanted: impl Fn(&Answer) -> bool) {
        let frames = std::iter::from_fn(|| self.raw.receive());
        let found = frames.filter_map(|frame| Answer::read(&frame)).find(|answer| unwanted(answer));
        assert_eq!(found, None);
    }

    /// Waits until a counter has moved once.
    pub(crate) fn expect(&mut self, counter: Counter) {
        self.expect_times(counter, 1);
    }

    /// Waits until a counter has moved so often.
    pub(crate) fn expect_times(&mut self, counter: Counter, times: u64) {
        let index = counter.index() as usize;
        let wanted = self.seen[index] + times;
        let found = self.wait(|lab| Some(lab.totals()[index]).filter(|found| *found >= wanted));
        assert_eq!(found, Some(wanted), "{}; moved: {:?}", counter.name(), self.moved());
        self.seen[index] = wanted;
        self.expected.push(counter);
    }

    /// Waits until a counter has moved at all.
    pub(crate) fn expect_some(&mut self, counter: Counter) {
        let index = counter.index() as usize;
        let before = self.seen[index];
        let found = self.wait(|lab| Some(lab.totals()[index]).filter(|found| *found > before));
        self.seen[index] = found.unwrap_or_else(|| panic!("{}; moved: {:?}", counter.name(), self.moved()));
        self.expected.push(counter);
    }

    /// Waits until one of two counters has moved once; says which.
    pub(crate) fn expect_either(&mut self, one: Counter, other: Counter) -> Counter {
        let found = self.wait(|lab| {
            let totals = lab.totals();
            let has_moved =
                |counter: &Counter| totals[counter.index() as usize] > lab.seen[counter.index() as usize];
            [one, other].into_iter().find(has_moved)
        });
        let found = found.unwrap_or_else(|| panic!("neither; moved: {:?}", self.moved()));
        self.expect(found);
        found
    }

    /// Takes a counter as it is: how often it moves is left to chance.
    pub(crate) fn disregard(&mut self, counter: Counter) {
        let index = counter.index() as usize;
        self.seen[index] = self.totals()[index];
    }

    /// Asserts that these counters have moved as expected, and none else.
    pub(crate) fn assert_settled(&self, counters: &[Counter]) {
        if self.skipped {
            return;
        }
        let any = [Counter::SegmentPassed, Counter::OtherPassed];
        let more: Vec<_> = self.moved().into_iter().filter(|(counter, _)| !any.contains(counter)).collect();
        assert!(more.is_empty(), "not expected: {more:?}");
        for counter in Counter::ALL {
            assert_eq!(self.expected.contains(counter), counters.contains(counter), "{}", counter.name());
        }
    }

    /// Counters that moved beyond what was expected, and by how much.
    fn moved(&self) -> Vec<(Counter, u64)> {
        let moved = self.totals().into_iter().zip(&self.seen).map(|(now, seen)| now - seen);
        Counter::ALL.iter().copied().zip(moved).filter(|(_, by)| *by != 0).collect()
    }

    /// Asks until there is an answer, or patience ends.
    pub(crate) fn wait<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            let answer = ask(self);
            if answer.is_some() || start.elapsed() > PATIENCE {
                return answer;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// All counters over all CPUs, in map order.
    fn totals(&self) -> Vec<u64> {
        let counters: PerCpuArray<_, u64> = self.ebpf.map("COUNTERS").unwrap().try_into().unwrap();
        Counter::ALL.iter().map(|one| counters.get(&one.index(), 0).unwrap().iter().sum()).collect()
    }

    /// A counter over all CPUs.
    pub(crate) fn total(&self, counter: Counter) -> u64 {
        self.totals()[counter.index() as usize]
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> ProgramFd {
        let program: &SchedClassifier = self.ebpf.program(name).unwrap().try_into().unwrap();
        program.fd().unwrap().try_clone().unwrap()
    }

    /// Pins the map of flows.
    pub(crate) fn pin_flows(&self, path: &Path) {
        self.ebpf.map("FLOWS").unwrap().pin(path).unwrap();
    }

    /// Statistics of a class, over all CPUs.
    pub(crate) fn class(&self, class: u16) -> ClassStats {
        let stats: PerCpuArray<_, ClassStats> = self.ebpf.map("CLASS_STATS").unwrap().try_into().unwrap();
        stats.get(&u32::from(class), 0).unwrap().iter().fold(ClassStats::default(), |sum, cpu| ClassStats {
            arrived: sum.arrived + cpu.arrived,
            answered: sum.answered + cpu.answered,
            abandoned: sum.abandoned + cpu.abandoned,
            service_ns: sum.service_ns + cpu.service_ns,
        })
    }

    /// Requests held by the server.
    pub(crate) fn held(&self) -> u64 {
        let held: Array<_, u64> = self.ebpf.map("HELD").unwrap().try_into().unwrap();
        held.get(&0, 0).unwrap()
    }

    /// What the server remembers of the client's flow.
    pub(crate) fn flow(&mut self) -> Option<ServerFlow> {
        let key = self.flow_key();
        self.flows().get(&key, 0).ok()
    }

    /// Changes what the server remembers of the client's flow, which no other packet may do meanwhile.
    pub(crate) fn change_flow(&mut self, change: impl FnOnce(&mut ServerFlow)) {
        let mut flow = self.flow().expect("the flow is remembered");
        change(&mut flow);
        let key = self.flow_key();
        self.flows().insert(key, flow, 0).unwrap();
    }

    /// Makes the server forget the client's flow, as a full table does.
    pub(crate) fn forget_flow(&mut self) {
        let key = self.flow_key();
        self.flows().remove(&key).unwrap();
    }

    fn flows(&mut self) -> HashMap<&mut MapData, FlowKey, ServerFlow> {
        self.ebpf.map_mut("FLOWS").unwrap().try_into().unwrap()
    }

    pub(crate) fn flow_key(&self) -> FlowKey {
        FlowKey::new(self.client.ip().into(), self.client.port().to_be(), SERVICE)
    }
}

fn is_from(frame: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => frame[12..14] == [0x08, 0x00] && frame[26..30] == address.octets(),
        IpAddr::V6(address) => frame[12..14] == [0x86, 0xdd] && frame[22..38] == address.octets(),
    }
}

/// Sets a variable of the namespace.
pub(crate) fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

fn wire() {
    for key in ["ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/default/accept_dad"] {
        sysctl(key, "0");
    }
    ip("link set lo up");
    ip("link add client type veth peer name server");
    // Not the client's: the kernel's own end of the wire is nobody whom frames are for.
    ip("link set client address 02:00:00:00:00:02 up");
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
        write_seq_offset: types.require("tcp_sock", "write_seq").unwrap(),
        copied_seq_offset: types.require("tcp_sock", "copied_seq").unwrap(),
        out_of_order_queue_offset: types.require("tcp_sock", "out_of_order_queue").unwrap(),
        owned_offset: types.require("sock", "sk_lock.owned").unwrap(),
        last_sent_offset: types.require("tcp_sock", "lsndtime").unwrap(),
        time_out_offset: types.require("inet_connection_sock", "icsk_rto").unwrap(),
    };
    let mut map: Array<_, BackSettings> = ebpf.map_mut("SETTINGS").unwrap().try_into().unwrap();
    map.set(0, settings, 0).unwrap();
    for (name, hook) in [("back", TcAttachType::Ingress), ("back_out", TcAttachType::Egress)] {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        program.attach_with_options("server", hook, order).unwrap();
    }
    let program: &mut SockOps = ebpf.program_mut("back_socket").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach(cgroup::open_root().unwrap(), CgroupAttachMode::Single).unwrap();
    ebpf
}

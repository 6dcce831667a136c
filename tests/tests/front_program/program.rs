//! The loaded program with its maps, and one run of it.

use std::{
    mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, XskMap, xdp::DevMap},
    programs::{ProgramFd, ProgramInfo, TestRun, TestRunOptions, TestRunResult, Xdp},
    util::nr_cpus,
};
use dispatcher_common::{
    address::Address,
    admission::{AdmissionEntry, PriorityStats, SourceKey, SourceRate},
    block::{self, Members},
    choice::{self, Candidate, DispatchRecord, RECORDS_PER_CPU, ServiceChoice},
    class_cache::CachedClass,
    cookie,
    counter::FrontCounter,
    epoch::{EPOCH_SHIFT, Epoch},
    filter::{Filter, FlowKey},
    limits::{MAX_SERVERS, PRIORITIES},
    member::MemberKey,
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
    siphash::SipKey,
    syn_options::SynOptions,
};
use dispatcher_user::{
    front::{choice::Choices, kept},
    kernel::table::Table,
};

use crate::{
    crowd, published,
    scene::{self, OWNER, Scene},
    segment::{CLIENT_PORT, FRONT_MAC, Family, PORT},
    sources,
};

pub(crate) const COOKIE_KEY: SipKey = SipKey { k0: 11, k1: 22 };
pub(crate) const TICKET_KEY: SipKey = SipKey { k0: 33, k1: 44 };
/// Key epoch of all runs; the clock stands in its middle.
pub(crate) const EPOCH: Epoch = Epoch(1_000);
pub(crate) const CLASS_CACHE_KEY: SipKey = SipKey { k0: 55, k1: 66 };
/// Of the class cache.
pub(crate) const GENERATION: u32 = 9;
pub(crate) const HEAD_LIMIT: usize = 16_384;
/// Above the longest head that the class cache is asked about, and as much as the kernel runs a program on.
pub(crate) const MTU: u32 = 3_000;
/// Expected service time of a request.
pub(crate) const WORK_US: u32 = 500;
pub(crate) const SERVER: u16 = 3;
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 13];
/// Another server.
pub(crate) const OTHER: u16 = 9;
pub(crate) const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 19];
pub(crate) const PRIORITY: u8 = 5;
pub(crate) const MSS_IPV4: u16 = 1444;
pub(crate) const MSS_IPV6: u16 = 1424;
/// Longer than any kernel's tick, for which the program remembers services.
const TWO_TICKS: Duration = Duration::from_millis(20);
/// Room of the filter-table in these tests.
pub(crate) const MAX_FILTERS: u32 = 8;

/// Id of the service of a family.
pub(crate) fn service_id(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 6,
        Family::Ipv6 => 7,
    }
}

/// The cookie of a handshake of our client in this epoch or an earlier one.
pub(crate) fn cookie_of(family: Family, options: SynOptions, isn: u32, epoch: Epoch) -> u32 {
    cookie::make(&COOKIE_KEY, &family.tuple(), options, isn, epoch)
}

/// The key of our client's flow.
pub(crate) fn flow_key(family: Family) -> FlowKey {
    FlowKey::new(Address::from(family.client()), CLIENT_PORT.to_be(), service_id(family))
}

/// What one run gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) action: u32,
    /// Metadata, if any, and frame.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Program {
    ebpf: Ebpf,
    /// Keeps the AF_XDP socket of queue 0 open; never bound, which is enough for a redirect map to point at it.
    slow_path: Option<OwnedFd>,
    /// As they are in the map.
    members: [Members; 2],
}

impl Program {
    /// Loads the object and fills the maps for one server and one service of each family. `None`, with a word on standard
    /// error, without root.
    pub(crate) fn load() -> Option<Self> {
        Self::with_room(MAX_FILTERS)
    }

    /// The same with room for so many filters.
    pub(crate) fn with_room(max_filters: u32) -> Option<Self> {
        // SAFETY: no argument, no requirement.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: loading an XDP program needs root; run it by `sudo -E`");
            return None;
        }
        let cpus = nr_cpus().unwrap() as u32;
        let ebpf = EbpfLoader::new()
            .map_max_entries("FILTERS", max_filters)
            .map_max_entries("KEPT_REQUESTS", kept::entries())
            .map_max_entries("RECORD_HEADS", cpus)
            .map_max_entries("DISPATCH_RECORDS", cpus * RECORDS_PER_CPU as u32)
            .load(dispatcher_user::objects::FRONT)
            .expect("the object loads");
        let mut program = Self { ebpf, slow_path: None, members: [Members::default(), Members::default()] };
        for name in ["front", "inner", "pass"] {
            program.xdp(name).load().expect("the verifier accepts the program");
        }
        program.fill();
        Some(program)
    }

    fn xdp(&mut self, name: &str) -> &mut Xdp {
        self.ebpf.program_mut(name).unwrap().try_into().unwrap()
    }

    /// A loaded program, `front`, `inner` or `pass`.
    pub(crate) fn fd(&mut self, name: &str) -> &ProgramFd {
        self.xdp(name).fd().unwrap()
    }

    /// What the kernel says of `front`.
    pub(crate) fn info(&mut self) -> ProgramInfo {
        self.xdp("front").info().unwrap()
    }

    /// All maps with their names, sorted.
    pub(crate) fn maps(&self) -> Vec<(&str, &Map)> {
        let mut maps: Vec<_> = self.ebpf.maps().collect();
        maps.sort_unstable_by_key(|(name, _)| *name);
        maps
    }

    /// The filter-table for many filters at once.
    pub(crate) fn filter_table(&mut self) -> Table<FlowKey, Filter> {
        let Some(Map::HashMap(data)) = self.ebpf.map("FILTERS") else { panic!("FILTERS is a hash map") };
        Table::from_borrowed(data.fd().as_fd()).unwrap()
    }

    fn fill(&mut self) {
        let mut services: HashMap<_, ServiceKey, ServiceEntry> =
            HashMap::try_from(self.ebpf.map_mut("SERVICES").unwrap()).unwrap();
        for family in Family::BOTH {
            let entry = Scene::default().service(family);
            for port in [PORT, 0] {
                let key = ServiceKey::new(Address::from(family.vip()), port.to_be());
                services.insert(key, entry, 0).unwrap();
            }
        }
        self.set_choice(&[SERVER]);
        self.set_two_arm(false);
        self.set_server(true);
        self.set_out(true);
        self.set_slow_path(true);
    }

    /// Clears what the program chooses by, to be published as the control plane does.
    pub(crate) fn choices(&self) -> Choices {
        published::choices(&self.ebpf)
    }

    /// Gives a server a MAC address.
    pub(crate) fn set_usable(&mut self, server: u16) {
        let entry = ServerEntry { mac: SERVER_MAC, source_mac: FRONT_MAC, usable: 1 };
        self.array("SERVERS").set(server.into(), entry, 0).unwrap();
    }

    /// Requests on kept connections of no account that the server was sent, over all CPUs.
    pub(crate) fn kept_requests(&mut self) -> u64 {
        let map: Array<_, u64> = self.array("KEPT_REQUESTS");
        let of_cpu = |cpu| map.get(&(cpu * MAX_SERVERS as u32 + u32::from(SERVER)), 0).unwrap();
        (0..nr_cpus().unwrap() as u32).map(of_cpu).sum()
    }

    /// Publishes the servers that the program may choose, by turns.
    pub(crate) fn set_choice(&mut self, servers: &[u16]) {
        let state = choice::State { kind: choice::kind::ROUND_ROBIN, half: 0, count: servers.len() as u16 };
        let service = ServiceChoice {
            valid_until_us: u64::MAX,
            t_load_us: 1,
            load_limit_us: u64::MAX,
            mean_us: WORK_US.into(),
            state: state.word(),
            ..ServiceChoice::default()
        };
        let mut candidates = [0; MAX_SERVERS];
        for (place, server) in candidates.iter_mut().zip(servers) {
            *place = Candidate { server: *server, ..Candidate::default() }.word();
        }
        let mut map: Array<_, [u64; MAX_SERVERS]> = self.array("CANDIDATES");
        map.set(state.index(OWNER), candidates, 0).unwrap();
        let mut map: Array<_, [u64; 8]> = self.array("SERVICE_CHOICES");
        map.set(OWNER.into(), service.words(), 0).unwrap();
    }

    fn array<T: Pod>(&mut self, name: &str) -> Array<&mut MapData, T> {
        Array::try_from(self.ebpf.map_mut(name).unwrap()).unwrap()
    }

    /// What the program has told of dispatches: how often, and the latest one of a CPU.
    pub(crate) fn dispatches(&mut self) -> (u64, DispatchRecord) {
        let mut told = (0, DispatchRecord::default());
        for cpu in 0..nr_cpus().unwrap() as u32 {
            let [count, ..] = self.array::<[u64; 8]>("RECORD_HEADS").get(&cpu, 0).unwrap();
            if count > told.0 {
                let ring = RECORDS_PER_CPU as u32;
                let latest = cpu * ring + (count - 1) as u32 % ring;
                let words = self.array("DISPATCH_RECORDS").get(&latest, 0).unwrap();
                told.1 = DispatchRecord::from_words(words);
            }
            told.0 += count;
        }
        told
    }

    /// What was added to the server's account.
    pub(crate) fn account(&mut self) -> u64 {
        self.array::<[u64; 8]>("ACCOUNTS").get(&SERVER.into(), 0).unwrap()[0]
    }

    pub(crate) fn set_two_arm(&mut self, two_arm: bool) {
        let settings = FrontSettings {
            cookie_key: COOKIE_KEY,
            ticket_key: TICKET_KEY,
            clock_offset_ns: (((EPOCH.0 as u64) << EPOCH_SHIFT) + (1 << (EPOCH_SHIFT - 1)))
                .wrapping_sub(coarse_clock_ns()),
            mss_ipv4: MSS_IPV4,
            mss_ipv6: MSS_IPV6,
            two_arm: two_arm as u32,
            class_cache_key: CLASS_CACHE_KEY,
            class_cache_generation: GENERATION,
            head_limit: HEAD_LIMIT as u32,
            mtu: MTU,
            reserved: 0,
        };
        let mut map: Array<_, FrontSettings> =
            Array::try_from(self.ebpf.map_mut("SETTINGS").unwrap()).unwrap();
        map.set(0, settings, 0).unwrap();
    }

    pub(crate) fn set_server(&mut self, usable: bool) {
        let mut map: Array<_, ServerEntry> = Array::try_from(self.ebpf.map_mut("SERVERS").unwrap()).unwrap();
        for (server, mac) in [(SERVER, SERVER_MAC), (OTHER, OTHER_MAC)] {
            let entry = ServerEntry { mac, source_mac: FRONT_MAC, usable: usable as u32 };
            map.set(server.into(), entry, 0).unwrap();
        }
    }

    pub(crate) fn set_out(&mut self, present: bool) {
        const LOOPBACK: u32 = 1;
        let mut map = DevMap::try_from(self.ebpf.map_mut("OUT").unwrap()).unwrap();
        // Interface 0 empties the slot.
        map.set(0, if present { LOOPBACK } else { 0 }, None, 0).unwrap();
    }

    pub(crate) fn set_slow_path(&mut self, present: bool) {
        let mut map = XskMap::try_from(self.ebpf.map_mut("XSKS").unwrap()).unwrap();
        if present && self.slow_path.is_none() {
            let socket = xdp_socket();
            map.set(0, socket.as_raw_fd(), 0).unwrap();
            self.slow_path = Some(socket);
        } else if !present && self.slow_path.take().is_some() {
            map.unset(0).unwrap();
        }
    }

    pub(crate) fn filters(&mut self) -> HashMap<&mut MapData, FlowKey, Filter> {
        self.map("FILTERS")
    }

    pub(crate) fn clear_filters(&mut self) {
        let mut filters = self.filters();
        let keys: Vec<FlowKey> = filters.keys().map(Result::unwrap).collect();
        keys.iter().for_each(|key| filters.remove(key).unwrap());
    }

    /// Sets the stage for admission of a family's service. The program notices another entry of a service within a tick.
    pub(crate) fn set_scene(&mut self, family: Family, scene: &Scene) {
        self.set_service(family, scene.service(family));
        self.set_admission(&scene.entry);
        self.set_members(&scene.members);
        let key = scene.source(family);
        replace(&mut self.map("SOURCE_RATES"), scene.rate.map(|rate| (key, rate)));
        replace(&mut self.map("SOURCE_OPEN"), scene.source_open.map(|open| (key, open)));
    }

    pub(crate) fn set_service(&mut self, family: Family, entry: ServiceEntry) {
        let mut services: HashMap<_, ServiceKey, ServiceEntry> = self.map("SERVICES");
        let key = ServiceKey::new(Address::from(family.vip()), PORT.to_be());
        if services.get(&key, 0).unwrap() != entry {
            services.insert(key, entry, 0).unwrap();
            thread::sleep(TWO_TICKS);
        }
    }

    pub(crate) fn set_admission(&mut self, entry: &AdmissionEntry) {
        let mut map: Array<_, AdmissionEntry> =
            Array::try_from(self.ebpf.map_mut("ADMISSION").unwrap()).unwrap();
        map.set(OWNER.into(), entry, 0).unwrap();
    }

    pub(crate) fn admission(&self) -> AdmissionEntry {
        let map: Array<_, AdmissionEntry> = Array::try_from(self.ebpf.map("ADMISSION").unwrap()).unwrap();
        map.get(&OWNER.into(), 0).unwrap()
    }

    pub(crate) fn set_members(&mut self, rules: &[(MemberKey, u8)]) {
        let mut members = [Members::default(), Members::default()];
        let mut rules = rules.to_vec();
        rules.sort_by_key(|(key, _)| key.prefix_bits);
        for (key, ceiling) in rules {
            members[block::half(key.scope) as usize].insert(&key, ceiling).unwrap();
        }
        let old = mem::replace(&mut self.members, members.clone());
        for (half, (old, new)) in old.iter().zip(&members).enumerate() {
            self.set_changed("MEMBERS", half, old.lines(), new.lines());
            self.set_changed("MEMBER_MARKS", half, old.marks(), new.marks());
            self.set_changed("MEMBER_LEVELS", half, old.levels(), new.levels());
        }
    }

    /// Writes what has changed in a half of a map.
    fn set_changed<T: Pod + PartialEq>(&mut self, name: &str, half: usize, old: &[T], new: &[T]) {
        let mut map: Array<_, T> = Array::try_from(self.ebpf.map_mut(name).unwrap()).unwrap();
        let start = half * new.len();
        for (number, (old, new)) in old.iter().zip(new).enumerate() {
            if new != old {
                map.set((start + number) as u32, new, 0).unwrap();
            }
        }
    }

    /// Leaves one entry in the class cache, or none.
    pub(crate) fn set_class_cache(&mut self, entry: Option<(u64, CachedClass)>) {
        replace(&mut self.map("CLASS_CACHE"), entry);
    }

    pub(crate) fn class_cache(&mut self) -> HashMap<&mut MapData, u64, CachedClass> {
        self.map("CLASS_CACHE")
    }

    /// What is known of a source: its rate and its open flows.
    pub(crate) fn source(&mut self, key: &SourceKey) -> (Option<SourceRate>, Option<u64>) {
        let rate = self.map::<SourceKey, SourceRate>("SOURCE_RATES").get(key, 0).ok();
        (rate, self.map::<SourceKey, u64>("SOURCE_OPEN").get(key, 0).ok())
    }

    /// Numbers of the service by priority, summed over the CPUs.
    pub(crate) fn priority_stats(&self) -> [PriorityStats; PRIORITIES] {
        let map: PerCpuArray<_, PriorityStats> =
            PerCpuArray::try_from(self.ebpf.map("PRIORITY_STATS").unwrap()).unwrap();
        std::array::from_fn(|priority| {
            let values = map.get(&(u32::from(OWNER) * PRIORITIES as u32 + priority as u32), 0).unwrap();
            values.iter().fold(PriorityStats::default(), |sum, one| scene::sum(&sum, one))
        })
    }

    fn map<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        HashMap::try_from(self.ebpf.map_mut(name).unwrap()).unwrap()
    }

    /// All counters, summed over the CPUs, in map order.
    pub(crate) fn counters(&self) -> Vec<u64> {
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(self.ebpf.map("COUNTERS").unwrap()).unwrap();
        let sum = |values: PerCpuValues<u64>| values.iter().sum();
        FrontCounter::ALL.iter().map(|counter| sum(map.get(&counter.index(), 0).unwrap())).collect()
    }

    /// What the server was sent, summed over the CPUs.
    pub(crate) fn traffic(&self) -> Traffic {
        let map: PerCpuArray<_, Traffic> =
            PerCpuArray::try_from(self.ebpf.map("SERVER_TRAFFIC").unwrap()).unwrap();
        let values = map.get(&(SERVER as u32), 0).unwrap();
        values.iter().fold(Traffic::default(), |sum, one| Traffic {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
        })
    }

    /// Runs a program once on a frame.
    pub(crate) fn run(&mut self, name: &str, frame: &[u8]) -> Run {
        let mut output = vec![0; frame.len() + 256];
        let result = self.test_run(name, frame, &mut output);
        output.truncate(result.data_size_out as usize);
        Run { action: result.return_value, bytes: output }
    }

    /// Time of one run on a frame.
    pub(crate) fn time(&mut self, name: &str, frame: &[u8]) -> Duration {
        let mut output = vec![0; frame.len() + 256];
        self.test_run(name, frame, &mut output).duration
    }

    fn test_run(&mut self, name: &str, frame: &[u8], output: &mut [u8]) -> TestRunResult {
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(output),
            repeat: 1,
            ..TestRunOptions::default()
        };
        self.xdp(name).test_run(options).expect("the kernel runs the program")
    }

    /// Mean time in nanoseconds of runs of a program, each on the frame with another IPv4 source.
    pub(crate) fn time_of_sources(&mut self, name: &str, frame: &[u8], repeat: u32) -> u32 {
        let program = self.xdp(name).fd().unwrap().as_fd().as_raw_fd();
        sources::time_ns(program, frame, repeat)
    }

    /// Runs `front` once on a frame that has no room before it.
    pub(crate) fn run_crowded(&mut self, frame: &[u8]) -> Run {
        let program = self.xdp("front").fd().unwrap().as_fd().as_raw_fd();
        let (action, bytes) = crowd::run(program, frame);
        Run { action, bytes }
    }
}

/// Leaves one entry in a map, or none.
fn replace<K: Pod, V: Pod>(map: &mut HashMap<&mut MapData, K, V>, entry: Option<(K, V)>) {
    let old: Vec<K> = map.keys().map(Result::unwrap).collect();
    old.iter().for_each(|key| map.remove(key).unwrap());
    if let Some((key, value)) = entry {
        map.insert(key, value, 0).unwrap();
    }
}

fn xdp_socket() -> OwnedFd {
    // SAFETY: plain integers; the result is checked before it is owned.
    unsafe {
        let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "AF_XDP socket: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

pub(crate) fn coarse_clock_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable and large enough.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) }, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

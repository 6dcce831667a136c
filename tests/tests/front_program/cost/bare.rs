//! The object of `bare.bpf.c`: the bare rewriter, and the programs that give a measured one its packets. Compiled here, so that
//! the rewriter is what clang makes of it on this machine.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use dispatcher_user::kernel::table::Table;
use tests::clang;

use crate::{
    cost::flows::Flows,
    crowd,
    program::{SERVER, SERVER_MAC},
    segment::FRONT_MAC,
};

/// `struct flow`, fields in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Flow {
    client: [u8; 4],
    vip: [u8; 4],
    client_port: [u8; 2],
    port: [u8; 2],
    protocol: u32,
}

// SAFETY: `repr(C)` of integers and bytes without padding.
unsafe impl Pod for Flow {}

/// Longest frame that can be restored, `MAX_FRAME` of the source.
const MAX_FRAME: usize = 96;

/// Programs that run before a measured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Every packet is another of so many bits of flows.
    NextFlow,
    /// Every packet is another request of the same connection.
    NextRequest,
    /// Every packet is the same, of IPv4.
    RestoreIpv4,
    /// Every packet is the same, of IPv6.
    RestoreIpv6,
    /// Every packet begins another connection, of IPv4.
    NextClientIpv4,
    /// Every packet begins another connection, of IPv6.
    NextClientIpv6,
}

impl Before {
    fn name(self) -> &'static str {
        match self {
            Self::NextFlow => "next_flow",
            Self::NextRequest => "next_request",
            Self::RestoreIpv4 => "restore_ipv4",
            Self::RestoreIpv6 => "restore_ipv6",
            Self::NextClientIpv4 => "next_client_ipv4",
            Self::NextClientIpv6 => "next_client_ipv6",
        }
    }
}

/// The loaded object.
pub(crate) struct Bare {
    ebpf: Ebpf,
    before: Before,
    frame: Vec<u8>,
}

impl Bare {
    /// Loads the object for packets that begin as a frame, with room for the flows. `None`, with a word on standard error, without
    /// clang.
    pub(crate) fn load(before: Before, frame: &[u8], flows: &Flows) -> Option<Self> {
        let object = compile()?;
        let (flow_bits, len) = (flows.bits(), frame.len() as u32);
        let mut ebpf = EbpfLoader::new()
            .override_global("flow_bits", &flow_bits, true)
            .override_global("frame_len", &len, true)
            .map_max_entries("FLOWS", flows.count())
            .load(&object)
            .expect("the object loads");
        let links: &mut Map = ebpf.map_mut("LINKS").unwrap();
        let link: [u8; 12] = [SERVER_MAC, FRONT_MAC].concat().try_into().unwrap();
        Array::<_, [u8; 12]>::try_from(links).unwrap().set(SERVER.into(), link, 0).unwrap();
        if !matches!(before, Before::NextFlow | Before::NextRequest) {
            let mut bytes = [0; MAX_FRAME];
            let len = frame.len().min(MAX_FRAME);
            bytes[..len].copy_from_slice(&frame[..len]);
            let map = ebpf.map_mut("FRAME").unwrap();
            Array::<_, [u8; MAX_FRAME]>::try_from(map).unwrap().set(0, bytes, 0).unwrap();
        }
        let mut bare = Self { ebpf, before, frame: frame.to_vec() };
        bare.xdp("bare").load().expect("the verifier accepts the rewriter");
        bare.xdp(before.name()).load().expect("the verifier accepts the program before");
        Some(bare)
    }

    fn xdp(&mut self, name: &str) -> &mut Xdp {
        self.ebpf.program_mut(name).unwrap().try_into().unwrap()
    }

    /// The bare rewriter.
    pub(crate) fn fd(&mut self) -> ProgramFd {
        self.xdp("bare").fd().unwrap().try_clone().unwrap()
    }

    /// Lets the bare rewriter know the flows.
    pub(crate) fn insert(&mut self, flows: &Flows) {
        let Some(Map::HashMap(data)) = self.ebpf.map("FLOWS") else { panic!("FLOWS is a hash map") };
        let table: Table<Flow, u32> = Table::from_borrowed(data.fd().as_fd()).unwrap();
        for clients in flows.chunks() {
            let keys: Vec<Flow> = clients.iter().map(|client| key(flows, *client)).collect();
            assert_eq!(table.update_batch(&keys, &vec![SERVER.into(); keys.len()]), 0);
        }
        let map: HashMap<_, Flow, u32> = HashMap::try_from(self.ebpf.map("FLOWS").unwrap()).unwrap();
        assert_eq!(map.get(&key(flows, flows.client(0)), 0).unwrap(), u32::from(SERVER));
    }

    /// Says what the client at each port acknowledges.
    pub(crate) fn set_acks(&mut self, acks: &[u32]) {
        let mut map: Array<_, u32> = Array::try_from(self.ebpf.map_mut("ACKS").unwrap()).unwrap();
        for (port, ack) in (0..).zip(acks) {
            map.set(port, ack.to_be(), 0).unwrap();
        }
    }

    /// What it takes to measure a program behind the one before.
    pub(crate) fn measure(&mut self, program: &ProgramFd) -> Measured<'_> {
        let map = self.ebpf.map_mut("MEASURED").unwrap();
        ProgramArray::try_from(map).unwrap().set(0, program, 0).unwrap();
        let entry = self.xdp(self.before.name()).fd().unwrap().as_fd().as_raw_fd();
        Measured { entry, frame: &self.frame }
    }
}

/// A program that is ready to be measured.
#[derive(Clone, Copy)]
pub(crate) struct Measured<'a> {
    entry: RawFd,
    frame: &'a [u8],
}

impl Measured<'_> {
    /// Mean time in nanoseconds of a run with what comes before it.
    pub(crate) fn mean_ns(self, repeat: u32) -> f64 {
        f64::from(crowd::mean_ns(self.entry, self.frame, repeat))
    }
}

fn key(flows: &Flows, client: u32) -> Flow {
    Flow {
        client: client.to_be_bytes(),
        vip: flows.vip().octets(),
        client_port: flows.client_port().to_be_bytes(),
        port: flows.port().to_be_bytes(),
        protocol: 6,
    }
}

/// The object's bytes.
fn compile() -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front_program/cost/bare.bpf.c");
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare.bpf.o");
    clang::compile(&source, &object).unwrap()
}

//! No cache line is written by two CPUs on the way of a known flow, so that cores do not wait for each other. What is per CPU by
//! its type cannot be shared; all other maps are compared before and after each CPU's packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    thread,
};

use aya::{
    maps::{Map, MapData},
    util::online_cpus,
};
use dispatcher_common::{filter::FlowKey, server::Traffic};
use dispatcher_user::kernel::mapped::MappedWords;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    crowd,
    program::{Program, service_id},
    segment::{ACK, Family, Segment},
    table::{established, good_ack},
};

/// Flows of a CPU.
const FLOWS: u16 = 4;
/// Requests on each, and as many acknowledgements.
const REQUESTS: u32 = 20;

const LOOKUP: libc::c_long = 1;
const NEXT_KEY: libc::c_long = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A piece of memory that no other piece shares a line with: a map, and a key of a hash map or a line of an array.
type Place = (String, Vec<u8>);

#[test]
fn known_flows_write_no_line_that_two_cpus_share() {
    let Some(mut program) = Program::load() else { return };
    let cpus = online_cpus().unwrap();
    let [first, second, ..] = cpus[..] else {
        eprintln!("skipped: this machine has one CPU");
        return;
    };
    // In turn, so that neighbours in memory are of different CPUs.
    for flow in 0..2 * FLOWS {
        program.filters().insert(key(flow), established(Family::Ipv4), 0).unwrap();
    }
    let written: Vec<BTreeSet<Place>> = [first, second]
        .into_iter()
        .enumerate()
        .map(|(number, cpu)| {
            let (before, traffic) = (places(&program), program.traffic());
            send(&mut program, cpu, number as u16);
            assert_all_forwarded(traffic, program.traffic());
            changed(&before, &places(&program))
        })
        .collect();
    let common: Vec<&Place> = written[0].intersection(&written[1]).collect();
    assert!(common.is_empty(), "both CPUs wrote {common:?}");
    for places in &written {
        let maps: BTreeSet<&str> = places.iter().map(|(map, _)| map.as_str()).collect();
        assert_eq!(maps, BTreeSet::from(["FILTERS", "KEPT_REQUESTS"]));
        assert_eq!(places.iter().filter(|(map, _)| map == "FILTERS").count(), FLOWS as usize);
    }
}

fn key(flow: u16) -> FlowKey {
    FlowKey::new(Family::Ipv4.client().into(), port(flow).to_be(), service_id(Family::Ipv4))
}

fn port(flow: u16) -> u16 {
    1024 + flow
}

/// Sends requests and acknowledgements on every other flow, from one CPU.
fn send(program: &mut Program, cpu: u32, number: u16) {
    let front = program.fd("front").as_fd().as_raw_fd();
    let run = || {
        let mut one = CpuSet::new();
        one.set(cpu as usize).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        for flow in (number..2 * FLOWS).step_by(2) {
            for segment in packets(flow) {
                crowd::mean_ns(front, &segment.frame(), 1);
            }
        }
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap());
}

/// A response's first acknowledgement and the next request, again and again.
fn packets(flow: u16) -> impl Iterator<Item = Segment> {
    let family = Family::Ipv4;
    let last = established(family);
    (0..REQUESTS).flat_map(move |request| {
        let (seq, ack) =
            (last.next_seq.wrapping_add(4 * request), good_ack(family).wrapping_add(1 + request));
        let segment = Segment { source_port: port(flow), ..Segment::of_client(family, ACK, seq, ack) };
        [segment.clone(), segment.with_payload(b"GET ")]
    })
}

fn assert_all_forwarded(before: Traffic, after: Traffic) {
    assert_eq!(after.packets - before.packets, u64::from(FLOWS) * u64::from(2 * REQUESTS));
}

/// What is in all maps that are not per CPU, by place; lines of zeroes are left out.
fn places(program: &Program) -> BTreeMap<Place, Vec<u8>> {
    let mut places = BTreeMap::new();
    for (name, map) in program.maps() {
        match map {
            Map::HashMap(data) | Map::LruHashMap(data) => {
                for (key, value) in entries(data) {
                    places.insert((name.to_owned(), key), value);
                }
            }
            Map::Array(data) => {
                let lines = lines(data)
                    .into_iter()
                    .enumerate()
                    .filter(|(_, line)| line.iter().any(|byte| *byte != 0));
                places.extend(
                    lines.map(|(number, line)| ((name.to_owned(), number.to_ne_bytes().to_vec()), line)),
                );
            }
            // Written by each CPU for itself, or not by programs.
            Map::PerCpuArray(_) | Map::XskMap(_) | Map::DevMap(_) => {}
            other => panic!("{name} is of a type that this test does not know: {other:?}"),
        }
    }
    places
}

/// An array's lines, by mapping it if it lets us: some are large.
fn lines(data: &MapData) -> Vec<Vec<u8>> {
    let info = data.info().unwrap();
    let words = (info.value_size() * info.max_entries()) as usize / size_of::<u64>();
    let bytes: Vec<u8> = match MappedWords::map(data.fd().as_fd(), words) {
        Ok(mapped) => (0..words).flat_map(|word| mapped.read::<1>(word)[0].to_ne_bytes()).collect(),
        Err(_) => entries(data).into_iter().flat_map(|(_, value)| value).collect(),
    };
    bytes.chunks(LINE).map(<[u8]>::to_vec).collect()
}

/// Places that are not the same, or only in one.
fn changed(before: &BTreeMap<Place, Vec<u8>>, after: &BTreeMap<Place, Vec<u8>>) -> BTreeSet<Place> {
    let all: BTreeSet<&Place> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|place| before.get(*place) != after.get(*place)).cloned().collect()
}

/// The members of `union bpf_attr` for one element.
#[repr(C)]
struct Element {
    map: u64,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

/// Keys and values in the kernel's order.
fn entries(data: &MapData) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (map, info) = (data.fd().as_fd().as_raw_fd(), data.info().unwrap());
    let mut found = Vec::new();
    let mut next = vec![0; info.key_size() as usize];
    let mut more = element(NEXT_KEY, map, std::ptr::null(), next.as_mut_ptr());
    while more {
        let (key, mut value) = (next.clone(), vec![0; info.value_size() as usize]);
        assert!(element(LOOKUP, map, key.as_ptr(), value.as_mut_ptr()), "a key has a value");
        more = element(NEXT_KEY, map, key.as_ptr(), next.as_mut_ptr());
        found.push((key, value));
    }
    found
}

/// False if there is none.
fn element(command: libc::c_long, map: RawFd, key: *const u8, out: *mut u8) -> bool {
    let mut attributes =
        Element { map: map as u64, key: key as u64, value_or_next_key: out as u64, flags: 0 };
    // SAFETY: the attributes are a `repr(C)` prefix of `union bpf_attr`; the pointers are to a key and a value of the map's sizes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<Element>()) };
    let error = io::Error::last_os_error();
    assert!(result == 0 || error.raw_os_error() == Some(libc::ENOENT), "bpf command {command}: {error}");
    result == 0
}

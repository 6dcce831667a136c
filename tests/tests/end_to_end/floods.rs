//! A flood of spoofed packets costs no memory and locks nobody out.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{
    Family, Rig,
    wire::{Flags, Offer, PacketSocket, Peer, Segment},
};

use crate::{curl, stage, watch::Watch};

const SYNS: u32 = 100_000;
const BURST: u32 = 250;

#[test]
fn a_hundred_thousand_spoofed_syns_leave_no_trace_and_a_real_client_is_served() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    // The first requests have made the process as large as it is.
    let urls = vec![curl::url(rig, Family::V4, "/pages/warm"); 50];
    curl::in_turn(rig, &urls);
    let watch = Watch::start(rig);
    let front = rig.process("front").unwrap().id();
    let before = resident_kib(front);
    let flooding = AtomicBool::new(true);
    let served = thread::scope(|scope| {
        let client = scope.spawn(|| serve_while(rig, &flooding));
        for (family, count) in [(Family::V4, SYNS), (Family::V6, SYNS / 5)] {
            flood(peer, count, |number| spoofed(peer, family, number, Flags::SYN, b""));
        }
        // Data and ACKs without a cookie, too.
        flood(peer, SYNS / 5, |number| spoofed(peer, Family::V4, number, Flags::ACK, b"GET / HTTP/1.1"));
        flooding.store(false, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(served > 10, "only {served} requests were served during the flood");
    watch.until(rig, FrontCounter::SynAnswered, u64::from(SYNS / 5 * 6) + served);
    // One guess in 2048 passes for a later segment of a fresh flow, and is dropped without an answer.
    watch.until(rig, FrontCounter::CookieRefused, u64::from(SYNS / 5 - SYNS / 5 / 200));
    assert_eq!(
        watch.moved(rig, ControlCounter::Dispatched),
        served,
        "only the real client's requests were dispatched"
    );
    let real = [Family::V4, Family::V6].map(|family| rig.plan().address("client", family).to_string());
    let mut filters = rig.show("front", "filters").unwrap();
    filters.retain(|row| !real.iter().any(|client| row["client"] == client.as_str()));
    let near =
        |row: &serde_json::Value| row["client"].as_str().is_some_and(|client| client.starts_with("198.19."));
    assert!(!filters.iter().any(near), "a spoofed packet made a filter: {filters:?}");
    let grown = resident_kib(front).saturating_sub(before);
    assert!(grown < 4096, "the front-end has grown by {grown} KiB");
    watch.finish(rig);
}

/// Requests one after the other until the flood is over; gives their number.
fn serve_while(rig: &Rig, flooding: &AtomicBool) -> u64 {
    let url = curl::url(rig, Family::V4, "/pages/flood");
    let mut served = 0;
    while flooding.load(Ordering::Relaxed) {
        let reply = curl::get(rig, &url);
        curl::check_text(&reply, "/pages/flood");
        served += 1;
    }
    served
}

fn flood(peer: &Peer, count: u32, make: impl Fn(u32) -> Segment) {
    let socket: PacketSocket = peer.sender().unwrap();
    let (from, to) = peer.macs();
    for burst in 0..count / BURST {
        let numbers = burst * BURST..(burst + 1) * BURST;
        let frames: Vec<Vec<u8>> = numbers.map(|number| make(number).frame(from, to).unwrap()).collect();
        socket.send_all(frames.iter().map(Vec::as_slice)).unwrap();
        // The link's queue holds 1000 packets or so; what overflows it would prove nothing.
        thread::sleep(Duration::from_micros(500));
    }
}

fn spoofed(peer: &Peer, family: Family, number: u32, flags: Flags, payload: &[u8]) -> Segment {
    let [_, _, high, low] = number.to_be_bytes();
    let source: IpAddr = match family {
        Family::V4 => Ipv4Addr::new(198, 19, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, high.into(), low.into()).into(),
    };
    let port = 1024 + u16::try_from(number >> 16).unwrap_or(0);
    Segment {
        source: (source, port).into(),
        destination: (peer.vip(family), 80).into(),
        seq: number.wrapping_mul(0x9e37_79b9),
        ack: if flags == Flags::SYN { 0 } else { number.wrapping_mul(0x85eb_ca6b) },
        flags,
        window: 65_535,
        options: if flags == Flags::SYN { Offer::LINUX.encode(number) } else { Vec::new() },
        payload: payload.to_vec(),
        hop_limit: 60,
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

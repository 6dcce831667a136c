//! Programs `front` and `inner`: one way in, one way out. A frame is parsed once, its service is looked up, and one of the modules
//! decides:
//!
//! `syn` handshakes, `known` flows with a filter, `further` their requests after the first, `renewed` new connections behind an
//! old filter, `unknown` flows without one, `request` first segments, `returned` what servers send back, `icmp` path-MTU messages.
//! `inner` knows only `returned`: it sees the interface of the servers, where that is another than the clients'. They ask `admission`, `kept`, `member` and `source` whether a client may
//! come in, act through `forward`, `ticket`, `reply` and `slow_path`, and each gives a `Verdict`, which is counted here.
//!
//! A known flow's segment goes straight through one function; whatever else a segment may be has functions of its own, so that
//! neither their instructions nor their stack are in its way.

mod admission;
mod choice;
mod class_cache;
mod clock;
mod forward;
mod frame;
mod further;
mod handshake;
mod icmp;
mod kept;
mod known;
mod maps;
mod member;
mod open;
mod quick;
mod renewed;
mod reply;
mod request;
mod returned;
mod segment;
mod service;
mod slow_path;
mod source;
mod syn;
mod ticket;
mod unknown;
mod verdict;

use core::hint;

use aya_ebpf::programs::XdpContext;
use dispatcher_common::{address::Address, counter::FrontCounter, service::ServiceKey, ticket::PREFIX};
use dispatcher_ebpf::{
    header::tcp_flag,
    packet::{Packet, Parsed},
};

use self::{segment::Segment, verdict::Verdict};

/// Decides about a frame and counts the decision; gives the XDP action.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    leave(judge(ctx))
}

/// Decides about a frame from the servers' interface.
#[inline(always)]
pub(crate) fn run_inner(ctx: &XdpContext) -> u32 {
    leave(judge_inner(ctx))
}

#[inline(always)]
fn leave(verdict: Verdict) -> u32 {
    maps::count(verdict.counter());
    verdict.action()
}

/// Whatever does not come back from a server is the kernel's.
#[inline(always)]
fn judge_inner(ctx: &XdpContext) -> Verdict {
    match Packet::parse(frame::of(ctx)) {
        Parsed::Tcp(packet) => from_server(ctx, hint::black_box(&packet)),
        _ => Verdict::PASS,
    }
}

#[inline(always)]
fn from_server(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let Some(segment) = Segment::of_service(ctx, packet) else { return Verdict::PASS };
    if !packet.is_well_formed(segment.frame) {
        return Verdict::drop(FrontCounter::MalformedDropped);
    }
    if packet.first_option(segment.frame) == Some(PREFIX) {
        return returned::with_ticket(&segment);
    }
    if packet.has(tcp_flag::SYN) {
        return Verdict::PASS;
    }
    returned::without_ticket(&segment).unwrap_or(Verdict::PASS)
}

#[inline(always)]
fn judge(ctx: &XdpContext) -> Verdict {
    let frame = frame::of(ctx);
    match Packet::parse(frame) {
        // Kept in registers as well, the description would be spilled to the stack beside itself.
        Parsed::Tcp(packet) => tcp(ctx, hint::black_box(&packet)),
        Parsed::Icmp(family) => icmp::forward(frame, family),
        Parsed::Fragment(vip) => refuse(&vip, FrontCounter::FragmentDropped),
        Parsed::IpOptions(vip) => refuse(&vip, FrontCounter::IpOptionsDropped),
        Parsed::Extension(vip) => refuse(&vip, FrontCounter::ExtensionDropped),
        Parsed::Other => Verdict::PASS,
    }
}

/// Drops what hides its port, if it is for a VIP.
#[inline(never)]
fn refuse(vip: &Address, counter: FrontCounter) -> Verdict {
    match service::find(&ServiceKey::new(*vip, maps::ANY_PORT)) {
        Some(_) => Verdict::drop(counter),
        None => Verdict::PASS,
    }
}

#[inline(always)]
fn tcp(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let Some(segment) = Segment::of_service(ctx, packet) else { return Verdict::PASS };
    if !packet.is_well_formed(segment.frame) {
        return Verdict::drop(FrontCounter::MalformedDropped);
    }
    // A server looks for a ticket only here, right after the fixed header, and sends one back here.
    if packet.first_option(segment.frame) == Some(PREFIX) {
        return returned::with_ticket(&segment);
    }
    if packet.has(tcp_flag::SYN) {
        return syn::answer(&segment);
    }
    let key = segment.flow_key();
    match maps::filter(&key) {
        Some(filter) if !renewed::takes_over(&segment, &key, filter) => {
            known::segment(&segment, &key, filter)
        }
        _ => unknown::segment(&segment, &key),
    }
}

//! The front-end's XDP object: program `front`, and `pass`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[path = "../front/mod.rs"]
mod program;

dispatcher_ebpf::program_object!();

/// Answers handshakes, sends known flows to their server and gives requests to the control plane.
#[xdp]
fn front(ctx: XdpContext) -> u32 {
    program::run(&ctx)
}

/// Passes everything: lets a veth peer receive what XDP sends, and is the floor of benchmarks.
#[xdp]
fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

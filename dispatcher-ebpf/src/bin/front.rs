//! The front-end's XDP object: programs `front` and `inner`, and `pass`.
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

/// Sends on what servers send back, on their interface where that is another than the clients'.
#[xdp]
fn inner(ctx: XdpContext) -> u32 {
    program::run_inner(&ctx)
}

/// Passes everything: the floor of benchmarks.
#[xdp]
fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

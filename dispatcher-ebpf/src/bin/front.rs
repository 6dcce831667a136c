//! The front-end's XDP object: program `front`, and `pass`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

dispatcher_ebpf::program_object!();

/// Passes everything: lets a veth peer receive what XDP sends, and is the floor of benchmarks.
#[xdp]
fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

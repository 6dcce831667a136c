//! A server's TC object: program `back` on ingress, `back_out` on egress.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

use aya_ebpf::{macros::classifier, programs::TcContext};

#[path = "../back/mod.rs"]
mod back;

dispatcher_ebpf::program_object!();

/// Segments to a service: tickets become connections.
#[classifier]
fn back(ctx: TcContext) -> i32 {
    back::ingress::run(&ctx)
}

/// Segments of a service: responses begin, connections end.
#[classifier]
fn back_out(ctx: TcContext) -> i32 {
    back::egress::run(&ctx)
}

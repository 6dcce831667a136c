//! A server's object: TC program `back` on ingress, `back_out` on egress, and `back_socket` for the events of sockets.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

use aya_ebpf::{
    macros::{classifier, sock_ops},
    programs::{SockOpsContext, TcContext},
};

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

/// Sockets of connections that another server had: they go on as fast as there.
#[sock_ops]
fn back_socket(ctx: SockOpsContext) -> u32 {
    back::established::run(&ctx)
}

//! Sockets of connections that were handed off here, at the moment they come to be: one that goes on with a connection takes over
//! the congestion window that the server before has found for the path. What it learns of the round-trip time it has from its
//! timestamps (`hand_off`).
//!
//! This program sees all sockets of the host, in whatever network namespace; the hand-off's acknowledgement tells ours.

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, helpers::generated::bpf_setsockopt,
    programs::SockOpsContext,
};
use dispatcher_common::{address::Address, filter::FlowKey, path_state::PathState, tuple::Tuple};

use super::{maps::FLOWS, segment::find_service};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

// Of `include/uapi/linux/tcp.h` and `include/uapi/linux/bpf.h`.
const SOL_TCP: i32 = 6;
const TCP_BPF_IW: i32 = 1001;

/// One event of a socket. The kernel's answer to all of them is as without this program.
#[inline(always)]
pub(crate) fn run(ctx: &SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
        && let Some(window) = path(ctx).and_then(PathState::window)
    {
        set_window(ctx, window);
    }
    1
}

/// What the socket's hand-off told of the path.
#[inline(always)]
fn path(ctx: &SockOpsContext) -> Option<PathState> {
    let tuple = tuple(ctx)?;
    let key = FlowKey::new(tuple.client, tuple.client_port_be, find_service(&tuple)?);
    // SAFETY: a map value; these fields never change as long as nothing was sent.
    let flow = unsafe { FLOWS.get(key) }?;
    // SAFETY: a readable field of the program's own context.
    let snd_nxt = unsafe { (*ctx.ops).snd_nxt };
    (flow.handoff_ack == snd_nxt).then_some(flow.path)
}

/// The socket's two ends. A socket of IPv6 that serves a client of IPv4 has mapped addresses, like ours.
///
/// The verifier allows reads of whole words at constant offsets only. So all are read, volatile, before any of them is chosen: else
/// LLVM reads halves and pairs of words, or chooses an offset.
#[inline(always)]
fn tuple(ctx: &SockOpsContext) -> Option<Tuple> {
    let ops = ctx.ops;
    // SAFETY: readable fields of the program's own context.
    let (ipv4, ipv6, ports) = unsafe {
        (
            [(&raw const (*ops).remote_ip4).read_volatile(), (&raw const (*ops).local_ip4).read_volatile()],
            [words(&raw const (*ops).remote_ip6), words(&raw const (*ops).local_ip6)],
            ((&raw const (*ops).remote_port).read_volatile(), (&raw const (*ops).local_port).read_volatile()),
        )
    };
    let [client, vip] = match ctx.family() {
        AF_INET => ipv4.map(Address::from_ipv4_be),
        AF_INET6 => ipv6.map(Address::from_words),
        _ => return None,
    };
    // The remote port is in network byte order in the upper half, the local one in host byte order.
    let (client_port_be, port) = ((ports.0 >> 16) as u16, ports.1 as u16);
    Some(Tuple { client, vip, client_port_be, port_be: port.to_be() })
}

/// # Safety
/// The words are readable.
#[inline(always)]
unsafe fn words(address: *const [u32; 4]) -> [u32; 4] {
    let first = address.cast::<u32>();
    // SAFETY: as the caller says; inside the array.
    [0, 1, 2, 3].map(|index| unsafe { first.add(index).read_volatile() })
}

#[inline(always)]
fn set_window(ctx: &SockOpsContext, window: u32) {
    let mut value = window;
    // SAFETY: a helper call on the program's own context; the value is as long as said.
    unsafe { bpf_setsockopt(ctx.ops.cast(), SOL_TCP, TCP_BPF_IW, (&raw mut value).cast(), 4) };
}

//! A good ticket meets the listener: the segment becomes an accepted connection by `bpf_sk_assign_tcp_reqsk` (Linux 6.9).

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_probe_read_kernel, generated::bpf_skb_load_bytes},
};
use dispatcher_common::{
    counter::BackCounter,
    limits::{MAX_OPTIONS_BESIDE_TICKET, TICKET_LEN, WINDOW_SCALE},
    settings::BackSettings,
    ticket::Ticket,
};

use super::{
    flow,
    requests::is_head,
    segment::Segment,
    socket::{Socket, TcpSock},
    verdict::Verdict,
};

/// Stands for the kernel function's BTF id: rustc emits no BTF for extern functions, so the loader looks for a call of this
/// helper number and makes it a call of the function (`dispatcher-user/src/kernel/kfunc.rs`).
const KFUNC: usize = 0x5EED0;

const FIXED_HEADER_LEN: u32 = 20;

/// Least MSS that the kernel takes.
const LEAST_MSS_IPV6: u16 = 1220;

/// `struct bpf_tcp_req_attrs`, as the kernel function checks it.
#[repr(C)]
struct Attributes {
    rcv_tsval: u32,
    rcv_tsecr: u32,
    mss: u16,
    rcv_wscale: u8,
    snd_wscale: u8,
    ecn_ok: u8,
    wscale_ok: u8,
    sack_ok: u8,
    tstamp_ok: u8,
    usec_ts_ok: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<Attributes>() == 20);

/// Values of a timestamp option, host byte order.
struct Timestamps {
    value: u32,
    echo: u32,
}

type Assign = unsafe extern "C" fn(*mut __sk_buff, *mut TcpSock, *mut Attributes, i32) -> i32;

/// Hands the flow to the listener.
#[inline(always)]
pub(super) fn accept(
    skb: *mut __sk_buff,
    listener: &Socket,
    segment: &Segment,
    ticket: &Ticket,
    settings: &BackSettings,
) -> Verdict {
    let Some(socket) = listener.as_tcp() else { return Verdict::Pass(BackCounter::HandoffRefused) };
    if speaks_mptcp(socket, settings.is_mptcp_offset) {
        return Verdict::Pass(BackCounter::HandoffMptcpRefused);
    }
    let mut attributes = attributes(skb, segment, ticket);
    // SAFETY: the loader turns the made-up helper number into a call of the kernel function, whose signature this is; the
    // verifier checks the arguments against the kernel's own types.
    let status = unsafe {
        let assign: Assign = core::mem::transmute::<usize, Assign>(KFUNC);
        assign(skb, socket, &raw mut attributes, size_of::<Attributes>() as i32)
    };
    if status != 0 {
        return Verdict::Pass(BackCounter::HandoffRefused);
    }
    if flow::begin(segment, ticket, ticket.followed && is_head(skb, segment)) {
        Verdict::Pass(BackCounter::HandoffAccepted)
    } else {
        Verdict::Pass(BackCounter::HandoffRepeated)
    }
}

#[inline(always)]
fn speaks_mptcp(socket: *mut TcpSock, offset: u32) -> bool {
    // SAFETY: reads one byte through the helper, which takes any address.
    offset != 0
        && unsafe { bpf_probe_read_kernel(socket.wrapping_add(offset as usize).cast_const()) }
            .is_ok_and(|is_mptcp| is_mptcp != 0)
}

#[inline(always)]
fn attributes(skb: *mut __sk_buff, segment: &Segment, ticket: &Ticket) -> Attributes {
    let timestamps = if ticket.timestamps { find_timestamps(skb, segment) } else { None };
    let scale = ticket.options.window_scale();
    let mss = ticket.options.mss();
    Attributes {
        rcv_tsval: timestamps.as_ref().map_or(0, |found| found.value),
        // The kernel sets its clock to this, and takes for the round-trip time how much that is later than the segment's.
        rcv_tsecr: timestamps
            .as_ref()
            .map_or(0, |found| found.echo.wrapping_add(ticket.path.round_trip_ms())),
        mss: if segment.ipv6 && mss < LEAST_MSS_IPV6 { LEAST_MSS_IPV6 } else { mss },
        rcv_wscale: if scale.is_some() { WINDOW_SCALE } else { 0 },
        snd_wscale: scale.unwrap_or(0),
        ecn_ok: 0,
        wscale_ok: scale.is_some() as u8,
        sack_ok: ticket.options.sack() as u8,
        tstamp_ok: timestamps.is_some() as u8,
        usec_ts_ok: 0,
        reserved: [0; 3],
    }
}

/// The timestamp option among those after the ticket, in whatever order (RFC 7323 section 3.2).
#[inline(always)]
fn find_timestamps(skb: *mut __sk_buff, segment: &Segment) -> Option<Timestamps> {
    let mut options = [0_u8; MAX_OPTIONS_BESIDE_TICKET];
    let len = (segment.header_words as u32 * 4).checked_sub(FIXED_HEADER_LEN + TICKET_LEN as u32)?;
    if len == 0 || len > MAX_OPTIONS_BESIDE_TICKET as u32 {
        return None;
    }
    let offset = segment.tcp_offset + FIXED_HEADER_LEN + TICKET_LEN as u32;
    // SAFETY: `len` is at most the buffer's length.
    if unsafe { bpf_skb_load_bytes(skb.cast(), offset, (&raw mut options).cast(), len) } != 0 {
        return None;
    }
    let at = search(&options, TIMESTAMPS, TIMESTAMPS_LEN)?;
    let mut values = [0_u32; 2];
    let values_len = size_of_val(&values) as u32;
    // SAFETY: the helper fills the values, or fails.
    if unsafe { bpf_skb_load_bytes(skb.cast(), offset + at + 2, (&raw mut values).cast(), values_len) } != 0 {
        return None;
    }
    Some(Timestamps { value: u32::from_be(values[0]), echo: u32::from_be(values[1]) })
}

const END: u8 = 0;
const NOP: u8 = 1;
const TIMESTAMPS: u8 = 8;
const TIMESTAMPS_LEN: u32 = 10;

/// Where in the options the one of this kind and length starts.
// Every index is a constant of the unrolled loop: `next` says where the next option starts, and positions before it are
// inside the option before. Zeroes after the last option read as its end.
#[inline(always)]
fn search(options: &[u8; MAX_OPTIONS_BESIDE_TICKET], wanted: u8, wanted_len: u32) -> Option<u32> {
    let mut next = 0;
    let mut at = 0;
    while at < MAX_OPTIONS_BESIDE_TICKET - 1 {
        if at as u32 == next {
            // SAFETY: both are inside the array. Volatile, or LLVM joins them to one read that the verifier finds misaligned.
            let (kind, len) = unsafe {
                let here = options.as_ptr().add(at);
                (here.read_volatile(), here.add(1).read_volatile() as u32)
            };
            match kind {
                END => return None,
                NOP => next += 1,
                _ if len < 2 => return None,
                _ if kind == wanted && len == wanted_len => return Some(next),
                _ => next += len,
            }
        }
        at += 1;
    }
    None
}

//! The kernel's socket for a segment's addresses, held by a reference that is released at the end of a scope.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_probe_read_kernel,
        generated::{
            bpf_jiffies64, bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_sock,
            bpf_skc_to_tcp_timewait_sock, bpf_tcp_sock,
        },
    },
};

use dispatcher_common::{path_state::PathState, per_request, settings::BackSettings};

use super::segment::Segment;

// States of `include/net/tcp_states.h`, part of the kernel's stable interface.
const ESTABLISHED: u32 = 1;
const TIME_WAIT: u32 = 6;
const LISTEN: u32 = 10;

/// Segments, where the kernel begins (RFC 6928).
const INITIAL_WINDOW: u32 = 10;

/// Look up in the network namespace that the packet is in.
const CURRENT_NETNS: u64 = -1_i64 as u64;

/// `struct tcp_sock`, of which only the kernel knows the layout.
pub(super) type TcpSock = u8;

/// What a socket is to a hand-off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    TimeWait,
    /// A connection, in whatever state.
    Live,
}

/// A referenced socket.
pub(super) struct Socket(*mut bpf_sock);

impl Socket {
    /// The connection that a segment belongs to, else the listener for it.
    #[inline(always)]
    pub(super) fn find(skb: *mut __sk_buff, segment: &Segment) -> Option<Self> {
        let Segment { tuple, .. } = segment;
        let (client, vip) = (tuple.client.words(), tuple.vip.words());
        let found = if segment.ipv6 {
            let [a, b, c, d] = client;
            let [e, f, g, h] = vip;
            look_up(skb, [a, b, c, d, e, f, g, h, tuple.ports()])
        } else {
            look_up(skb, [client[3], vip[3], tuple.ports()])
        };
        // Not `then_some`, which would make and drop, that is release, a socket of null.
        if found.is_null() { None } else { Some(Self(found)) }
    }

    /// The connection that a segment belongs to.
    #[inline(always)]
    pub(super) fn find_connection(skb: *mut __sk_buff, segment: &Segment) -> Option<Self> {
        let socket = Self::find(skb, segment)?;
        if socket.kind() == Kind::Listener { None } else { Some(socket) }
    }

    #[inline(always)]
    pub(super) fn kind(&self) -> Kind {
        // SAFETY: a referenced `struct sock_common`, whose state the verifier lets us read.
        match unsafe { (*self.0).state } {
            LISTEN => Kind::Listener,
            TIME_WAIT => Kind::TimeWait,
            _ => Kind::Live,
        }
    }

    /// The next sequence number that a live socket expects; none for a handshake in progress.
    #[inline(always)]
    pub(super) fn rcv_nxt(&self) -> Option<u32> {
        // SAFETY: a helper call on the referenced socket.
        let tcp = unsafe { bpf_tcp_sock(self.0) };
        if tcp.is_null() {
            return None;
        }
        // SAFETY: not null, and a field of the kernel's stable `struct bpf_tcp_sock`.
        Some(unsafe { (*tcp).rcv_nxt })
    }

    /// The same of a socket in TIME_WAIT, whose field lies at `offset` of `struct sock_common`.
    #[inline(always)]
    pub(super) fn time_wait_rcv_nxt(&self, offset: u32) -> Option<u32> {
        // SAFETY: a helper call on the referenced socket.
        let socket = unsafe { bpf_skc_to_tcp_timewait_sock(self.0.cast()) } as *const u8;
        if socket.is_null() {
            return None;
        }
        // SAFETY: reads four bytes through the helper, which takes any address.
        unsafe { bpf_probe_read_kernel(socket.wrapping_add(offset as usize).cast::<u32>()) }.ok()
    }

    /// What is to be known of a live socket before its connection may go; none for a handshake in progress.
    #[inline(always)]
    pub(super) fn look(&self, settings: &BackSettings) -> Option<per_request::Socket> {
        let rcv_nxt = self.rcv_nxt()?;
        let socket = self.as_tcp()?;
        // SAFETY: reads through the helper, which takes any address; the offsets are the running kernel's. A tree's root is a
        // pointer to its first node.
        let (write_seq, copied_seq, first_ahead) = unsafe {
            (
                read::<u32>(socket, settings.write_seq_offset)?,
                read::<u32>(socket, settings.copied_seq_offset)?,
                read::<u64>(socket, settings.out_of_order_queue_offset)?,
            )
        };
        // SAFETY: as in `kind`.
        let is_established = unsafe { (*self.0).state } == ESTABLISHED;
        Some(per_request::Socket {
            is_established,
            rcv_nxt,
            copied_seq,
            write_seq,
            nothing_ahead: first_ahead == 0,
        })
    }

    /// Whether the software is in the middle of a call on the socket. What came now would wait for the end of that, a RST too.
    #[inline(always)]
    pub(super) fn is_owned(&self, settings: &BackSettings) -> bool {
        // SAFETY: as in `look`.
        let owned = self.as_tcp().and_then(|socket| unsafe { read::<u32>(socket, settings.owned_offset) });
        owned != Some(0)
    }

    /// What a live socket has learnt of the path to the client. The window of one that was idle for a while says nothing any more,
    /// for the kernel as for us (RFC 5681 section 4.1).
    #[inline(always)]
    pub(super) fn path_state(&self, settings: &BackSettings) -> PathState {
        // SAFETY: a helper call on the referenced socket.
        let tcp = unsafe { bpf_tcp_sock(self.0) };
        if tcp.is_null() {
            return PathState::UNKNOWN;
        }
        // SAFETY: not null, and fields of the kernel's stable `struct bpf_tcp_sock`; the time is in eighths.
        let (window, round_trip_us) = unsafe { ((*tcp).snd_cwnd, (*tcp).srtt_us >> 3) };
        let is_recent = self.is_recent(settings);
        PathState::new(
            if is_recent || window < INITIAL_WINDOW { window } else { INITIAL_WINDOW },
            round_trip_us,
        )
    }

    /// Whether the socket has sent data within its retransmission time-out.
    #[inline(always)]
    fn is_recent(&self, settings: &BackSettings) -> bool {
        let Some(socket) = self.as_tcp() else { return false };
        // SAFETY: as in `look`; a helper without arguments. All are in jiffies.
        unsafe {
            let sent = read::<u32>(socket, settings.last_sent_offset);
            let time_out = read::<u32>(socket, settings.time_out_offset);
            let now = bpf_jiffies64() as u32;
            matches!((sent, time_out), (Some(sent), Some(time_out)) if now.wrapping_sub(sent) <= time_out)
        }
    }

    /// Where the next byte will be that the server's software writes, again.
    #[inline(always)]
    pub(super) fn write_seq(&self, settings: &BackSettings) -> Option<u32> {
        let socket = self.as_tcp()?;
        // SAFETY: as in `look`.
        unsafe { read::<u32>(socket, settings.write_seq_offset) }
    }

    /// The socket as `struct tcp_sock`.
    #[inline(always)]
    pub(super) fn as_tcp(&self) -> Option<*mut TcpSock> {
        // SAFETY: a helper call on the referenced socket.
        let socket: *mut TcpSock = unsafe { bpf_skc_to_tcp_sock(self.0.cast()) }.cast();
        (!socket.is_null()).then_some(socket)
    }
}

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: releases the one reference that `find` took.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}

/// A field of a socket.
///
/// # Safety
/// Any bytes are a value of the type.
#[inline(always)]
unsafe fn read<T>(socket: *mut TcpSock, offset: u32) -> Option<T> {
    // SAFETY: the helper takes any address.
    unsafe { bpf_probe_read_kernel(socket.wrapping_add(offset as usize).cast_const().cast::<T>()) }.ok()
}

#[inline(always)]
fn look_up<const WORDS: usize>(skb: *mut __sk_buff, mut words: [u32; WORDS]) -> *mut bpf_sock {
    let tuple: *mut bpf_sock_tuple = (&raw mut words).cast();
    // SAFETY: the tuple is initialised for its whole length, 12 bytes for IPv4 or 36 for IPv6, which the helper tells apart.
    unsafe { bpf_skc_lookup_tcp(skb.cast(), tuple, WORDS as u32 * 4, CURRENT_NETNS, 0) }
}

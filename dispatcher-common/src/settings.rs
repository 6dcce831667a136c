//! What the control plane tells the programs about the cluster and the running kernel; one entry each.

use crate::siphash::SipKey;

/// Settings of the front-end's program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontSettings {
    pub cookie_key: SipKey,
    pub ticket_key: SipKey,
    /// Wall clock minus the kernel's coarse monotonic clock.
    pub clock_offset_ns: u64,
    /// MSS of our SYN-ACK: what the MTU allows, less a ticket.
    pub mss_ipv4: u16,
    pub mss_ipv6: u16,
    /// 1: servers are behind another interface, slot 0 of the OUT map; 0: behind the one that clients come from.
    pub two_arm: u32,
    /// Key of the class cache's keys, another one with each life of the control plane.
    pub class_cache_key: SipKey,
    /// Entries of the class cache of another generation say nothing.
    pub class_cache_generation: u32,
    /// Longest request head that the slow path takes, in bytes.
    pub head_limit: u32,
    /// Longest packet above Ethernet, in bytes.
    pub mtu: u32,
    /// Kept zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FrontSettings>() == 80);

/// Settings of a server's programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackSettings {
    pub ticket_key: SipKey,
    /// Wall clock minus the kernel's coarse monotonic clock.
    pub clock_offset_ns: u64,
    /// Offset of `skc_tw_rcv_nxt` in `struct sock_common`, from the running kernel's BTF.
    pub tw_rcv_nxt_offset: u32,
    /// Offset of `is_mptcp` in `struct tcp_sock`; 0 if the kernel has no MPTCP.
    pub is_mptcp_offset: u32,
    /// Offsets of `write_seq`, `copied_seq` and `out_of_order_queue` in `struct tcp_sock`.
    pub write_seq_offset: u32,
    pub copied_seq_offset: u32,
    pub out_of_order_queue_offset: u32,
    /// Offset of `sk_lock.owned` in `struct sock`.
    pub owned_offset: u32,
    /// Offset of `lsndtime` in `struct tcp_sock`, and of `icsk_rto` in `struct inet_connection_sock`, which begins it.
    pub last_sent_offset: u32,
    pub time_out_offset: u32,
}

const _: () = assert!(size_of::<BackSettings>() == 56);

//! A prefix in the one form that both families share: 128 bits, IPv4 mapped into `::ffff:0:0/96`, as packets, keys and the
//! kernel's trie have it. Owns that IPv6 prefixes do not take in the mapped addresses, though the bits say so.

use std::net::IpAddr;

use dispatcher_common::member::{MemberKey, Scope};
use ipnet::IpNet;

use crate::address::{self, MAPPED_BITS};

/// `::ffff:0:0`.
const MAPPED: u128 = 0xffff_0000_0000;

/// Some leading bits of an address, the others zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    /// First, so that the order is by length.
    pub(super) len: u8,
    bits: u128,
}

impl Prefix {
    /// All IPv6 addresses and, as bits, all others too.
    pub(super) const EVERYTHING: Self = Self { len: 0, bits: 0 };

    /// All IPv4 addresses.
    pub(super) const IPV4: Self = Self { len: MAPPED_BITS, bits: MAPPED };

    /// A client's own address.
    pub(super) fn host(address: IpAddr) -> Self {
        Self { len: 128, bits: address::bits(address.to_canonical()) }
    }

    /// Its first `len` bits.
    pub(super) fn cut(self, len: u8) -> Self {
        Self { len, bits: self.bits & address::mask(len) }
    }

    /// Whether it is one of IPv4.
    pub(super) fn is_ipv4(self) -> bool {
        self.len >= MAPPED_BITS && self.bits >> 32 == MAPPED >> 32
    }

    /// Whether its bits, and so the trie, take in `other`.
    pub(super) fn covers(self, other: Self) -> bool {
        self.len <= other.len && other.cut(self.len) == self
    }

    /// The trie's key of the clients there.
    pub(super) fn key(self, scope: Scope, port: u16) -> MemberKey {
        let (port_be, address) = (port.to_be(), address::in_packet(self.bits));
        MemberKey { scope, port_be, address, prefix_bits: self.len }
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        let len = net.prefix_len() + if net.addr().is_ipv4() { MAPPED_BITS } else { 0 };
        Self { len: 128, bits: address::bits(net.addr()) }.cut(len)
    }
}

//! A prefix in the one form that both families share: 128 bits, IPv4 mapped into `::ffff:0:0/96`, as packets, keys and the
//! kernel's trie have it. Owns that IPv6 prefixes do not take in the mapped addresses, though the bits say so.

use std::net::IpAddr;

use dispatcher_common::{
    address::Address,
    member::{MemberKey, Scope},
};
use ipnet::IpNet;

/// Bits before an IPv4 address.
const MAPPED_BITS: u8 = 96;

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
        Self { len: 128, bits: mapped(address.to_canonical()) }
    }

    /// Its first `len` bits.
    pub(super) fn cut(self, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Self { len, bits: self.bits & mask }
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
        MemberKey::new(scope, port.to_be(), address(self.bits), self.len)
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        let len = net.prefix_len() + if net.addr().is_ipv4() { MAPPED_BITS } else { 0 };
        Self { len: 128, bits: mapped(net.addr()) }.cut(len)
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The form of an address in maps: words as they lie in a packet.
pub(crate) fn address(bits: u128) -> Address {
    let octets = bits.to_be_bytes();
    let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
    Address::from_words([word(0), word(4), word(8), word(12)])
}

//! The member-table's first stage: the highest priority that a client's source allows. The control plane compiles its rules
//! into the entries of one table, which lies in memory as `block` says; cookies, which only a request shows, are its second
//! stage and not here.

use crate::address::Address;

/// Port of the entries for clients whose port no rule names.
pub const ANY_PORT: u16 = 0;

/// Bits before the address in a key, which every entry compares.
pub const SCOPE_BITS: u32 = 64;

/// Where a rule holds: first the number of bits to compare, then the bits.
///
/// Ports have tries of their own, and each is complete: where a port has an entry, no entry for any port is longer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberKey {
    /// [`SCOPE_BITS`] and the prefix of the address.
    pub prefix_len: u32,
    /// Configured service (16 bits), generation of its rules (16).
    scope: u32,
    /// The client's port as it lies in a packet (16 bits), zeroes.
    port: u32,
    /// The address as it lies in a packet.
    address: [u32; 4],
}

const _: () = assert!(size_of::<MemberKey>() == 28);

impl MemberKey {
    /// The key of a client, or of a rule with a prefix of so many bits of the 128.
    #[inline(always)]
    #[must_use]
    pub const fn new(scope: Scope, port_be: u16, address: Address, prefix_bits: u8) -> Self {
        Self {
            prefix_len: SCOPE_BITS + prefix_bits as u32,
            scope: scope.owner as u32 | (scope.generation as u32) << 16,
            port: port_be as u32,
            address: address.words(),
        }
    }

    /// Bits of the prefix, of the address's 128.
    #[must_use]
    pub const fn prefix_bits(&self) -> u8 {
        (self.prefix_len - SCOPE_BITS) as u8
    }

    /// The port as it lies in a packet.
    #[must_use]
    pub const fn port_be(&self) -> u16 {
        self.port as u16
    }

    #[must_use]
    pub const fn address(&self) -> Address {
        Address::from_words(self.address)
    }

    /// Whose rules it belongs to.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope { owner: self.scope as u16, generation: (self.scope >> 16) as u16 }
    }
}

/// One loading of the rules of one service. A new one is written beside the old one and takes its place at once, so no client
/// is judged by half of either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Number of the configured service, see [`crate::service::ServiceEntry::owner`].
    pub owner: u16,
    /// See [`crate::service::ServiceEntry::generation`].
    pub generation: u16,
}

/// What a source allows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberEntry {
    /// The highest priority that a request from there can get, whatever its cookies. At a SYN this is its priority: the final one
    /// is never higher.
    pub ceiling: u8,
    /// Kept zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<MemberEntry>() == 4);

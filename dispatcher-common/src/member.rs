//! The member-table's first stage: the highest priority that a client's source allows. The control plane compiles its rules
//! into the entries of one table, which lies in memory as `block` says; cookies, which only a request shows, are its second
//! stage and not here.

use crate::address::Address;

/// Port of the entries for clients whose port no rule names.
pub const ANY_PORT: u16 = 0;

/// Where a rule holds.
///
/// Ports have tables of their own, and each is complete: where a port has an entry for a client, no entry for any port is
/// longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberKey {
    /// Whose rule it is.
    pub scope: Scope,
    /// The client's port as it lies in a packet, or [`ANY_PORT`].
    pub port_be: u16,
    /// The prefix, the rest zeroes.
    pub address: Address,
    /// Its length, of the 128 bits.
    pub prefix_bits: u8,
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

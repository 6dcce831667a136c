//! Services of the data plane, one entry for each pair of VIP and port.

use crate::address::Address;

/// Where a packet must be addressed to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    pub vip: Address,
    pub port_be: u16,
    /// Kept zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<ServiceKey>() == 20);

/// What the data plane knows of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Index of this entry, below [`crate::limits::MAX_SERVICES`].
    pub id: u16,
    /// Priority of its flows until something better is known, 0..=7.
    pub priority: u8,
    /// Kept zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<ServiceEntry>() == 4);

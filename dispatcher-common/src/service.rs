//! Services of the data plane, one entry for each pair of VIP and port.

use crate::address::Address;

/// Where a packet must be addressed to. Three words for the reason of [`crate::filter::FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    pub vip: Address,
    /// The port as it lies in a packet (16 bits), zeroes.
    port: u64,
}

const _: () = assert!(size_of::<ServiceKey>() == 24);

impl ServiceKey {
    /// The key of a VIP and port.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: Address, port_be: u16) -> Self {
        Self { vip, port: port_be as u64 }
    }

    #[inline(always)]
    #[must_use]
    pub const fn port_be(&self) -> u16 {
        self.port as u16
    }
}

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

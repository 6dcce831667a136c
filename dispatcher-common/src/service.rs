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

/// Bits of [`ServiceEntry::flags`].
pub mod flag {
    /// The service has admission: see [`crate::admission::AdmissionEntry`].
    pub const ADMISSION: u8 = 1;
    /// Sources have limits.
    pub const SOURCE_LIMITS: u8 = 1 << 1;
    /// The member-table has rules for the service.
    pub const MEMBERS: u8 = 1 << 2;
    /// Some of them name a port.
    pub const MEMBER_PORTS: u8 = 1 << 3;
    /// First requests may be dispatched by the class cache: cookies make no difference.
    pub const QUICK: u8 = 1 << 4;
    /// Every request of a connection is dispatched, not only the first: see [`crate::per_request`].
    pub const PER_REQUEST: u8 = 1 << 5;
}

/// What the data plane knows of a service. Eight bytes that change at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Index of this entry, below [`crate::limits::MAX_SERVICES`].
    pub id: u16,
    /// Generation of the member-table's rules that hold now, see [`crate::member::Scope`].
    pub generation: u16,
    /// Number of the configured service, which may have several VIPs.
    pub owner: u8,
    /// Priority of clients that no rule names, 0..=7.
    pub priority: u8,
    /// Requests on kept connections of lower priority are refused; 0 while the service is not overloaded.
    pub gate: u8,
    /// Bits of [`flag`].
    pub flags: u8,
}

const _: () = assert!(size_of::<ServiceEntry>() == 8);

//! The client's end and the service's end of a connection, as cookies and tickets hash them.

use crate::address::Address;

/// A connection seen from the cluster: the client's address and port, and the VIP and port of the service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub client: Address,
    pub vip: Address,
    pub client_port_be: u16,
    pub port_be: u16,
}

impl Tuple {
    /// Both ports in one 32-bit word.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.client_port_be as u32 | (self.port_be as u32) << 16
    }
}

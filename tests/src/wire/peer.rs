//! The scripted client as a host on the client's link: its addresses, and who knows them. Its addresses are entered as neighbours
//! at the servers by hand, for nobody answers ARP or neighbour solicitations for them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, anyhow};

use super::{connection::Connection, frame::Mac, offer::Offer, socket::PacketSocket};
use crate::{Family, Host, Rig};

const MAC: Mac = [2, 0, 0, 0, 1, 0x50];
const IPV4: &str = "198.18.0.50";
const IPV6: &str = "2001:db8::50";
const INTERFACE: &str = "eth0";

/// Below the range that Linux takes ports of its own from.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;

/// One counter for all, so that no test meets the leavings of another.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// The scripted client.
#[derive(Debug)]
pub struct Peer {
    client: Host,
    vip: [IpAddr; 2],
    front_mac: Mac,
}

impl Peer {
    /// Makes the client known to all servers of the rig.
    ///
    /// # Errors
    /// If a neighbour entry cannot be made.
    pub fn new(rig: &Rig) -> Result<Self> {
        let mac = text(MAC);
        for server in rig.plan().server_names() {
            for address in [IPV4, IPV6] {
                let entry = format!("ip neigh replace {address} lladdr {mac} dev {INTERFACE} nud permanent");
                rig.host(&server)?.run(&entry)?;
            }
        }
        let vip = [Family::V4, Family::V6].map(|family| rig.plan().address("vip", family));
        Ok(Self { client: rig.host("client")?.clone(), vip, front_mac: parse(&rig.plan().mac("front"))? })
    }

    /// A connection to be, from a port never used before, to `port` of the VIP by way of the front-end.
    ///
    /// # Errors
    /// If the packet socket cannot be opened.
    pub fn connection(&self, family: Family, port: u16, offer: Offer) -> Result<Connection> {
        let own_port = FIRST_PORT + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % PORTS;
        self.connection_from(own_port, family, port, offer)
    }

    /// As `connection`, from a port that the test chooses.
    ///
    /// # Errors
    /// As `connection`.
    pub fn connection_from(
        &self,
        own_port: u16,
        family: Family,
        port: u16,
        offer: Offer,
    ) -> Result<Connection> {
        let source = SocketAddr::new(self.address(family), own_port);
        let destination = SocketAddr::new(self.vip(family), port);
        let socket = PacketSocket::open(&self.client, INTERFACE)?;
        Ok(Connection::new(socket, source, destination, (MAC, self.front_mac), offer))
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::from([198, 18, 0, 50]),
            Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50]),
        }
    }

    /// The service's address.
    #[must_use]
    pub fn vip(&self, family: Family) -> IpAddr {
        self.vip[usize::from(family == Family::V6)]
    }

    /// A socket that only sends.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn sender(&self) -> Result<PacketSocket> {
        PacketSocket::open_for_sending(&self.client, INTERFACE)
    }

    /// MAC addresses of frames to the front-end: from and to.
    #[must_use]
    pub fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (MAC, self.front_mac)
    }
}

/// A MAC address from its text.
pub(crate) fn parse(mac: &str) -> Result<Mac> {
    let bytes: Option<Vec<u8>> = mac.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| anyhow!("{mac:?} is not a MAC address"))
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_survives_a_round_trip() {
        assert_eq!(parse(&text(MAC)).unwrap(), MAC);
        assert!(parse("02:00").is_err());
    }
}

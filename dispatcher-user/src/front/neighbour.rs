//! Finds the MAC addresses of servers in the kernel's neighbour table, makes the kernel resolve and refresh them, and follows
//! its notifications, so that a server whose address moves to another machine is found at once. A `mac` in the configuration
//! wins over all that.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use aya::maps::MapError;
use dispatcher_core::{config::ServerConfig, ids::ServerId};
use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    },
    sys::SocketAddr,
};

use super::{
    interface::{Interface, InterfaceError},
    server_table::ServerTable,
};

/// How often the kernel is asked to confirm addresses that are known.
const REFRESH: Duration = Duration::from_secs(3);

/// How often while one is missing.
const RETRY: Duration = Duration::from_millis(200);

/// Tries after which a missing address is worth a warning: the kernel gives up after three seconds.
const TRIES_BEFORE_WARNING: u32 = 20;

/// A notification of the kernel.
pub type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// The neighbours that are servers.
#[derive(Debug)]
pub struct Neighbours {
    handle: Handle,
    interface: Interface,
    wanted: HashMap<IpAddr, ServerId>,
    table: ServerTable,
    tries: u32,
}

impl Neighbours {
    /// Writes the configured MAC addresses and those that the kernel knows already.
    ///
    /// # Errors
    /// When the server map cannot be written or the kernel does not list its neighbours.
    pub async fn new(
        handle: Handle,
        interface: Interface,
        servers: &[ServerConfig],
        mut table: ServerTable,
    ) -> Result<Self, NeighbourError> {
        let mut wanted = HashMap::new();
        for (id, server) in servers.iter().enumerate() {
            let id = ServerId(id as u16);
            match server.mac {
                Some(mac) => table.set_mac(id, mac.0)?,
                None => drop(wanted.insert(server.address, id)),
            }
        }
        let mut neighbours = Self { handle, interface, wanted, table, tries: 0 };
        neighbours.list().await?;
        Ok(neighbours)
    }

    /// Keeps addresses fresh for ever.
    ///
    /// # Errors
    /// When the server map cannot be written or the interface is gone.
    pub async fn follow(
        mut self,
        mut messages: impl Stream<Item = Message> + Unpin,
    ) -> Result<(), NeighbourError> {
        loop {
            self.resolve().await;
            let period = if self.missing().is_empty() { REFRESH } else { RETRY };
            let next = tokio::time::sleep(period);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    message = messages.next() => match message {
                        Some((message, _)) => self.notified(message)?,
                        None => return Err(NeighbourError::Ended),
                    },
                }
            }
            if period == REFRESH {
                // Notifications may have been lost, and our own address may have changed.
                self.list().await?;
                let own = Interface::find(&self.handle, &self.interface.name).await?;
                self.table.set_source_mac(own.mac)?;
            }
        }
    }

    fn missing(&self) -> Vec<(IpAddr, ServerId)> {
        let unknown = self.wanted.iter().filter(|(_, server)| self.table.mac(**server).is_none());
        unknown.map(|(address, server)| (*address, *server)).collect()
    }

    /// Makes the kernel use every entry, as a packet would: it resolves what is missing and probes what is old.
    async fn resolve(&mut self) {
        for address in self.wanted.keys() {
            let mut request = self.handle.neighbours().add(self.interface.index, *address).replace();
            request = request.flags(NeighbourFlags::Use).state(NeighbourState::None);
            if let Err(error) = request.execute().await {
                tracing::debug!("cannot resolve {address} on {}: {error}", self.interface.name);
            }
        }
        let missing = self.missing();
        self.tries = if missing.is_empty() { 0 } else { self.tries + 1 };
        if self.tries == TRIES_BEFORE_WARNING {
            for (address, _) in missing {
                tracing::warn!(
                    "no MAC address for {address} on {}; the server must be up and on the same Ethernet, or give its mac in \
                     the configuration",
                    self.interface.name
                );
            }
        }
    }

    async fn list(&mut self) -> Result<(), NeighbourError> {
        let mut entries = self.handle.neighbours().get().execute();
        while let Some(entry) = entries.try_next().await.map_err(InterfaceError::from)? {
            self.learn(&entry)?;
        }
        Ok(())
    }

    fn notified(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), MapError> {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => self.learn(&entry),
            _ => Ok(()),
        }
    }

    fn learn(&mut self, entry: &NeighbourMessage) -> Result<(), MapError> {
        if entry.header.ifindex != self.interface.index {
            return Ok(());
        }
        match resolved(entry).and_then(|(address, mac)| Some((*self.wanted.get(&address)?, mac))) {
            Some((server, mac)) => self.table.set_mac(server, mac),
            None => Ok(()),
        }
    }
}

/// Address and MAC of an entry that is or recently was confirmed.
fn resolved(entry: &NeighbourMessage) -> Option<(IpAddr, [u8; 6])> {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    if !matches!(entry.header.state, Reachable | Stale | Delay | Probe | Permanent | Noarp) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &entry.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    address.zip(mac)
}

/// MAC addresses cannot be kept fresh.
#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
    /// For the operator: the interface has gone.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// From the kernel, unexpected.
    #[error("cannot write the server map: {0}")]
    Map(#[from] MapError),
    /// From the kernel, unexpected.
    #[error("the kernel stopped notifying us of neighbours; start the dispatcher again")]
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: NeighbourState) -> NeighbourMessage {
        let mut entry = NeighbourMessage::default();
        entry.header.state = state;
        entry.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet([198, 18, 0, 11].into())),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 11]),
        ];
        entry
    }

    #[test]
    fn only_entries_that_were_confirmed_count() {
        let expected = Some(("198.18.0.11".parse().unwrap(), [2, 0, 0, 0, 0, 11]));
        assert_eq!(resolved(&entry(NeighbourState::Stale)), expected);
        assert_eq!(resolved(&entry(NeighbourState::Failed)), None);
        assert_eq!(resolved(&entry(NeighbourState::Incomplete)), None);
    }
}

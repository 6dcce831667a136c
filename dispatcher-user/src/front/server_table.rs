//! The SERVERS map together with the model's copy of it: the link-layer addresses of packets to each server. Owns that both
//! say the same; where addresses come from is `neighbour`'s business.

use std::{fmt, sync::Arc};

use aya::maps::{Array, MapData, MapError};
use dispatcher_common::server::ServerEntry;
use dispatcher_core::{config::MacAddress, ids::ServerId};

use super::{
    model::Model,
    sweep::{Loss, Lost},
};

/// Writes server entries.
pub struct ServerTable {
    map: Array<MapData, ServerEntry>,
    model: Arc<Model>,
    source_mac: [u8; 6],
}

impl fmt::Debug for ServerTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTable").field("source_mac", &self.source_mac).finish_non_exhaustive()
    }
}

impl ServerTable {
    /// `source_mac` is the front-end's own, on the interface towards the servers.
    #[must_use]
    pub fn new(map: Array<MapData, ServerEntry>, model: Arc<Model>, source_mac: [u8; 6]) -> Self {
        Self { map, model, source_mac }
    }

    /// The MAC address of a server, if it is known.
    #[must_use]
    pub fn mac(&self, server: ServerId) -> Option<[u8; 6]> {
        let entry = self.model.lock().entries.get(server.index()).copied()?;
        (entry.usable != 0).then_some(entry.mac)
    }

    /// Notes a server's MAC address; the next packet to it has it.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_mac(&mut self, server: ServerId, mac: [u8; 6]) -> Result<(), MapError> {
        let old = self.mac(server);
        if old == Some(mac) {
            return Ok(());
        }
        tracing::info!(
            server = %self.model.lock().cluster.servers()[server.index()].name(),
            mac = %MacAddress(mac),
            "{}",
            if old.is_some() { "the server's MAC address changed" } else { "found the server's MAC address" }
        );
        self.write(server, ServerEntry { mac, source_mac: self.source_mac, usable: 1 })
    }

    /// Changes the front-end's own MAC address in all entries.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_source_mac(&mut self, source_mac: [u8; 6]) -> Result<(), MapError> {
        if source_mac == self.source_mac {
            return Ok(());
        }
        self.source_mac = source_mac;
        let entries = self.model.lock().entries.clone();
        for (id, entry) in entries.into_iter().enumerate().filter(|(_, entry)| entry.usable != 0) {
            self.write(ServerId(id as u16), ServerEntry { source_mac, ..entry })?;
        }
        Ok(())
    }

    /// Sends nothing more to servers whose index meant another.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn forget(&mut self, losses: &[Loss]) -> Result<(), MapError> {
        for loss in losses {
            if let Lost::Server(server) = loss.what {
                self.map.set(u32::from(server), ServerEntry::default(), 0)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, server: ServerId, entry: ServerEntry) -> Result<(), MapError> {
        self.map.set(server.index() as u32, entry, 0)?;
        self.model.set_entry(server, entry);
        Ok(())
    }
}

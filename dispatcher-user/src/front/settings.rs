//! The SETTINGS map of the front-end's program: keys, clock offset, MSS and other limits. Keeps it true while the wall clock is set and MTUs
//! change.

use std::{fmt, time::Duration};

use aya::maps::{Array, MapData, MapError};
use dispatcher_common::{settings::FrontSettings, siphash::SipKey};
use dispatcher_core::secret::Secret;
use rtnetlink::Handle;

use super::interface::{Interface, segment_sizes};
use crate::kernel::clock;

/// How often the settings are written again. Until then a step of the wall clock shortens or lengthens the life of cookies.
const REFRESH: Duration = Duration::from_secs(10);

/// Writes the settings.
pub struct SettingsTable {
    map: Array<MapData, FrontSettings>,
    settings: FrontSettings,
}

impl fmt::Debug for SettingsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsTable").field("mtu", &self.settings.mtu).finish_non_exhaustive()
    }
}

impl SettingsTable {
    /// Writes the settings for the first time, which empties the class cache: its key is new, and so is its generation. `clients`
    /// and `servers` are the interfaces to either side, which may be one; `head_limit` is in bytes.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn new(
        map: Array<MapData, FrontSettings>,
        secret: &Secret,
        clients: &Interface,
        servers: &Interface,
        head_limit: usize,
    ) -> Result<Self, MapError> {
        let before = map.get(&0, 0)?;
        let settings = FrontSettings {
            cookie_key: SipKey::from_bytes(secret.cookie_key()),
            ticket_key: SipKey::from_bytes(secret.ticket_key()),
            two_arm: u32::from(clients.index != servers.index),
            class_cache_key: SipKey::from_bytes(rand::random()),
            class_cache_generation: before.class_cache_generation.wrapping_add(1),
            head_limit: u32::try_from(head_limit).unwrap_or(u32::MAX),
            ..FrontSettings::default()
        };
        let mut table = Self { map, settings };
        table.write(clients.mtu.min(servers.mtu))?;
        Ok(table)
    }

    /// Key and generation of the class cache.
    #[must_use]
    pub fn class_cache(&self) -> (SipKey, u32) {
        (self.settings.class_cache_key, self.settings.class_cache_generation)
    }

    /// Keeps the settings true for ever.
    pub async fn keep(mut self, handle: Handle, clients: String, servers: String) {
        loop {
            tokio::time::sleep(REFRESH).await;
            let found = (Interface::find(&handle, &clients).await, Interface::find(&handle, &servers).await);
            let mtu = match found {
                (Ok(clients), Ok(servers)) => clients.mtu.min(servers.mtu),
                // Whoever follows the neighbours reports a vanished interface.
                _ => self.settings.mtu,
            };
            if let Err(error) = self.write(mtu) {
                tracing::warn!("cannot refresh the settings: {error}");
            }
        }
    }

    fn write(&mut self, mtu: u32) -> Result<(), MapError> {
        self.settings.mtu = mtu;
        (self.settings.mss_ipv4, self.settings.mss_ipv6) = segment_sizes(mtu);
        self.settings.clock_offset_ns = clock::offset_ns();
        self.map.set(0, self.settings, 0)
    }
}

//! The SETTINGS map of the server's programs: ticket key, offsets, clock offset. Keeps it true while the wall clock is set.

use std::{fmt, time::Duration};

use aya::maps::{Array, MapData, MapError};
use dispatcher_common::{settings::BackSettings, siphash::SipKey};
use dispatcher_core::secret::Secret;

use super::program::Offsets;
use crate::kernel::clock;

/// How often the settings are written again. Until then a step of the wall clock makes tickets seem older or younger.
const REFRESH: Duration = Duration::from_secs(10);

/// Writes the settings.
pub(super) struct SettingsTable {
    map: Array<MapData, BackSettings>,
    settings: BackSettings,
}

impl fmt::Debug for SettingsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsTable").finish_non_exhaustive()
    }
}

impl SettingsTable {
    /// Writes the settings for the first time.
    pub(super) fn new(
        map: Array<MapData, BackSettings>,
        secret: &Secret,
        offsets: Offsets,
    ) -> Result<Self, MapError> {
        let ticket_key = SipKey::from_bytes(secret.ticket_key());
        let settings = offsets.apply(BackSettings { ticket_key, ..BackSettings::default() });
        let mut table = Self { map, settings };
        table.write()?;
        Ok(table)
    }

    /// Keeps the settings true for ever.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = self.write() {
                tracing::warn!("cannot refresh the settings: {error}");
            }
        }
    }

    fn write(&mut self) -> Result<(), MapError> {
        self.settings.clock_offset_ns = clock::offset_ns();
        self.map.set(0, self.settings, 0)
    }
}

//! Which server each index meant, and which boot of it we knew, kept in a pinned map of the control plane's own: filters that
//! outlive a control plane name servers by index, and a server may boot or the configuration change while none runs.

use std::{fmt, path::Path};

use aya::maps::{Array, Map, MapData, MapError};
use dispatcher_common::limits::MAX_SERVERS;
use dispatcher_core::{config::FrontConfig, ids::ServerId, report::MAX_NAME_BYTES};

use super::{
    model::Model,
    sweep::{Loss, Lost},
};

const NAME_WORDS: usize = MAX_NAME_BYTES / 8;

/// Name, padded with zeroes, and boot id; 0 is none.
type Words = [u64; NAME_WORDS + 1];

const ABSENT: Words = [0; NAME_WORDS + 1];

/// The servers by index. The default keeps nothing beyond the process.
#[derive(Default)]
pub struct Roster {
    map: Option<Array<MapData, Words>>,
    boots: Vec<u64>,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("boots", &self.boots).finish_non_exhaustive()
    }
}

impl Roster {
    /// Opens the map pinned at `pin`, or makes it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(pin: &Path) -> Result<Self, MapError> {
        if !pin.exists() {
            let map = Array::<MapData, Words>::create(MAX_SERVERS as u32, 0)?;
            map.pin(pin).map_err(|error| MapError::PinError { name: Some("ROSTER".into()), error })?;
        }
        let map = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
        Ok(Self { map: Some(map), boots: Vec::new() })
    }

    /// Compares with the configuration and writes that down. The model learns the boots that were known; the servers
    /// whose index meant another are returned.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn reconcile(&mut self, config: &FrontConfig, model: &Model) -> Result<Vec<Loss>, MapError> {
        let mut losses = Vec::new();
        self.boots = vec![0; config.servers.len()];
        let Some(map) = &mut self.map else { return Ok(losses) };
        for index in 0..MAX_SERVERS {
            let old = map.get(&(index as u32), 0)?;
            let mut new = config.servers.get(index).map_or(ABSENT, |server| words(&server.name));
            let boot = old[NAME_WORDS];
            if old[..NAME_WORDS] == new[..NAME_WORDS] {
                new[NAME_WORDS] = boot;
                if let Some(known) = self.boots.get_mut(index).filter(|_| boot != 0) {
                    *known = boot;
                    model.lock().cluster.assume_boot(ServerId(index as u16), boot);
                }
            } else if old != ABSENT {
                losses.push(Loss::now(Lost::Server(index as u16)));
            }
            if old != new {
                map.set(index as u32, new, 0)?;
            }
        }
        Ok(losses)
    }

    /// Writes down the boot of a server.
    pub fn note_boot(&mut self, server: ServerId, boot: u64) {
        let index = server.index();
        let (Some(map), Some(known)) = (&mut self.map, self.boots.get_mut(index)) else { return };
        if *known == boot {
            return;
        }
        *known = boot;
        let noted = map.get(&(index as u32), 0).and_then(|mut words| {
            words[NAME_WORDS] = boot;
            map.set(index as u32, words, 0)
        });
        if let Err(error) = noted {
            tracing::warn!("cannot write down the boot of server {index}: {error}");
        }
    }
}

fn words(name: &str) -> Words {
    let mut words = ABSENT;
    for (word, bytes) in words.iter_mut().zip(name.as_bytes().chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::model::tests::{config, model, report};

    fn unpinned() -> Option<Roster> {
        match Array::create(MAX_SERVERS as u32, 0) {
            Ok(map) => Some(Roster { map: Some(map), boots: Vec::new() }),
            Err(error) => {
                println!("skipped: cannot create a map: {error}; run as root");
                None
            }
        }
    }

    #[test]
    fn a_boot_between_two_control_planes_is_noticed() {
        let Some(mut roster) = unpinned() else { return };
        assert_eq!(roster.reconcile(&config(), &model()).unwrap(), []);
        roster.note_boot(ServerId(0), 6);
        let next = model();
        assert_eq!(roster.reconcile(&config(), &next).unwrap(), []);
        assert!(next.accept(&report("server1", 1), 1_000_000).unwrap().rebooted);
        assert!(!next.accept(&report("server2", 1), 1_000_000).unwrap().rebooted);
    }

    #[test]
    fn an_index_that_means_another_server_is_lost() {
        let Some(mut roster) = unpinned() else { return };
        roster.reconcile(&config(), &model()).unwrap();
        let mut fewer = config();
        fewer.servers.remove(0);
        let losses: Vec<_> =
            roster.reconcile(&fewer, &model()).unwrap().into_iter().map(|loss| loss.what).collect();
        assert_eq!(losses, [Lost::Server(0), Lost::Server(1)]);
    }
}

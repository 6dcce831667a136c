//! The front-end's eBPF program in the kernel: which maps it has, what it must know of the configuration, and where it is
//! attached. Keeps what a control plane before this one left, where it still fits.

use std::net::IpAddr;

use aya::maps::{Array, DevMap, HashMap, MapData, MapError, PerCpuArray, XskMap, xdp::XdpMapError};
use dispatcher_common::{
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_core::config::{FrontConfig, Mode};

use super::{
    FilterTable,
    sweep::{Loss, Lost},
};
use crate::{
    kernel::{
        attach::Hook,
        object::{LoadError, LoadedObject},
        pin::{PinError, PinnedSet},
    },
    objects,
};

/// The port of the entry that stands for a VIP as such, whatever the port.
const ANY_PORT: u16 = 0;

/// The loaded program.
#[derive(Debug)]
pub struct Program(LoadedObject);

/// The maps that other parts of the control plane own.
pub struct Maps {
    pub filters: FilterTable,
    pub servers: Array<MapData, ServerEntry>,
    pub settings: Array<MapData, FrontSettings>,
    pub counters: PerCpuArray<MapData, u64>,
    pub traffic: PerCpuArray<MapData, Traffic>,
    pub xsks: XskMap<MapData>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl Program {
    /// Loads the program; it sees no packet before [`attach`](Self::attach).
    ///
    /// # Errors
    /// When the pin path is taken, or the kernel refuses.
    pub fn load(config: &FrontConfig) -> Result<Self, LoadError> {
        let sizes = [("FILTERS", config.max_filters)];
        LoadedObject::load(objects::FRONT, &config.pin_path, &sizes, &["front", "pass"]).map(Self)
    }

    /// The pinned set of maps.
    #[must_use]
    pub fn pins(&self) -> &PinnedSet {
        self.0.pins()
    }

    /// The maps, once.
    ///
    /// # Errors
    /// When one is missing or of another type.
    pub fn take_maps(&mut self) -> Result<Maps, LoadError> {
        Ok(Maps {
            filters: self.0.table("FILTERS")?,
            servers: self.0.typed("SERVERS")?,
            settings: self.0.typed("SETTINGS")?,
            counters: self.0.typed("COUNTERS")?,
            traffic: self.0.typed("SERVER_TRAFFIC")?,
            xsks: self.0.typed("XSKS")?,
        })
    }

    /// Writes the services and removes those that are no longer configured. Returns the service numbers that meant another
    /// before.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_services(&mut self, config: &FrontConfig) -> Result<Vec<Loss>, LoadError> {
        let mut map: HashMap<MapData, ServiceKey, ServiceEntry> = self.0.typed("SERVICES")?;
        replace_services(&mut map, &service_entries(config))
            .map_err(|source| LoadError::Map { name: "SERVICES", source })
    }

    /// Sets the interface towards the servers, if it is another than the clients'.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_out(&mut self, interface: u32) -> Result<(), LoadError> {
        let mut map: DevMap<MapData> = self.0.typed("OUT")?;
        map.set(0, interface, None, 0).map_err(|error| match error {
            XdpMapError::MapError(source) => LoadError::Map { name: "OUT", source },
            XdpMapError::ChainedProgramNotSupported => LoadError::Lacking("device map without programs"),
        })
    }

    /// Attaches the program to the clients' interface, or puts it in place of an older one.
    ///
    /// # Errors
    /// When the interface does not take it.
    pub fn attach(&mut self, config: &FrontConfig) -> Result<(), LoadError> {
        let hook = match config.mode {
            Mode::Native => Hook::XdpNative,
            Mode::Skb => Hook::XdpSkb,
        };
        self.0.attach("front", &config.interface, hook)?;
        if let (Some(interface), Mode::Native) = (&config.server_interface, config.mode) {
            // Many drivers send redirected frames only while a program of their own is attached.
            if let Err(error) = self.0.attach("pass", interface, hook) {
                tracing::debug!("no program on {interface}: {error}");
            }
        }
        Ok(())
    }

    /// Detaches the program and removes all pins.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<(), PinError> {
        self.0.remove()
    }

    /// As [`LoadedObject::give_up`].
    pub fn give_up(self) {
        self.0.give_up();
    }
}

/// One entry for each VIP and port, numbered as the model numbers them, and one for each VIP alone.
fn service_entries(config: &FrontConfig) -> Vec<(ServiceKey, ServiceEntry)> {
    let key = |vip: IpAddr, port: u16| ServiceKey::new(vip.into(), port.to_be());
    let pairs =
        config.services.iter().flat_map(|service| service.vips.iter().map(move |vip| (service, *vip)));
    let mut entries: Vec<(ServiceKey, ServiceEntry)> = Vec::new();
    for (id, (service, vip)) in pairs.enumerate() {
        let entry =
            ServiceEntry { id: id as u16, priority: service.priority.get(), ..ServiceEntry::default() };
        entries.push((key(vip, service.port), entry));
        let any = key(vip, ANY_PORT);
        if entries.iter().all(|(other, _)| *other != any) {
            entries.push((any, entry));
        }
    }
    entries
}

fn replace_services(
    map: &mut HashMap<MapData, ServiceKey, ServiceEntry>,
    wanted: &[(ServiceKey, ServiceEntry)],
) -> Result<Vec<Loss>, MapError> {
    let old: Vec<(ServiceKey, ServiceEntry)> = map.iter().collect::<Result<_, _>>()?;
    let mut losses = Vec::new();
    for (key, entry) in old {
        let new = wanted.iter().find(|(wanted, _)| *wanted == key);
        if key.port_be() != ANY_PORT && new.is_none_or(|(_, new)| new.id != entry.id) {
            losses.push(Loss::now(Lost::Service(entry.id)));
        }
        if new.is_none() {
            map.remove(&key)?;
        }
    }
    for (key, entry) in wanted {
        map.insert(key, entry, 0)?;
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::model::tests::config;

    #[test]
    fn services_are_numbered_by_vip_and_each_vip_has_an_entry_of_its_own() {
        let entries = service_entries(&config());
        let ids: Vec<_> =
            entries.iter().map(|(key, entry)| (u16::from_be(key.port_be()), entry.id)).collect();
        assert_eq!(ids, [(80, 0), (0, 0), (80, 1), (0, 1), (80, 2), (0, 2)]);
        assert_eq!(IpAddr::from(entries[2].0.vip), "2001:db8::100".parse::<IpAddr>().unwrap());
        assert_eq!(entries[4].1.priority, 5);
    }

    #[test]
    fn a_number_that_means_another_service_is_lost() {
        let mut map = match HashMap::create(128, 0) {
            Ok(map) => map,
            Err(error) => return println!("skipped: cannot create a map: {error}; run as root"),
        };
        let before = service_entries(&config());
        assert_eq!(replace_services(&mut map, &before).unwrap(), []);
        assert_eq!(replace_services(&mut map, &before).unwrap(), []);
        let mut fewer = config();
        fewer.services.remove(0);
        let losses = replace_services(&mut map, &service_entries(&fewer)).unwrap();
        let mut lost: Vec<_> = losses.into_iter().map(|loss| loss.what).collect();
        lost.sort_by_key(|what| format!("{what:?}"));
        assert_eq!(lost, [Lost::Service(0), Lost::Service(1), Lost::Service(2)]);
        assert_eq!(map.iter().count(), 2);
    }
}

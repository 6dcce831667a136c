//! The front-end's eBPF program in the kernel: loads it with its pinned maps, writes what it must know of the configuration,
//! attaches it, and removes all of it again. Keeps what a control plane before this one left, where it still fits.

use std::{net::IpAddr, os::fd::AsFd};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, DevMap, HashMap, Map, MapData, MapError, PerCpuArray, XskMap, xdp::XdpMapError},
    programs::{ProgramError, Xdp},
};
use dispatcher_common::{
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_core::config::{FrontConfig, Mode};
use thiserror::Error;

use super::{
    filters::FilterTable,
    sweep::{Loss, Lost},
};
use crate::{
    kernel::{
        attach::{AttachError, Attachment, Hook},
        pin::{PinError, PinnedSet},
    },
    objects,
};

/// The port of the entry that stands for a VIP as such, whatever the port.
const ANY_PORT: u16 = 0;

/// The program cannot be brought into the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// For the operator.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// From the kernel.
    #[error("kernel refuses the front-end's maps: {0}; run as root on Linux 6.9 or newer")]
    Maps(#[from] EbpfError),
    /// From the kernel.
    #[error("kernel refuses program {name}: {}; run as root on Linux 6.9 or newer", reason(.source))]
    Program {
        name: &'static str,
        #[source]
        source: ProgramError,
    },
    /// From the kernel, unexpected.
    #[error("map {name} cannot be used: {source}; remove the pin path and start again")]
    Map {
        name: &'static str,
        #[source]
        source: MapError,
    },
    /// Of this binary.
    #[error("eBPF object lacks {0}; build the dispatcher again")]
    Lacking(&'static str),
}

/// The loaded program and its maps.
#[derive(Debug)]
pub struct Program {
    ebpf: Ebpf,
    pins: PinnedSet,
}

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
        let pins = PinnedSet::open(&config.pin_path, objects::FRONT, &sizes)?;
        match load(&pins) {
            Ok(ebpf) => Ok(Self { ebpf, pins }),
            Err(error) => {
                if !pins.is_reused()
                    && let Err(error) = pins.remove()
                {
                    tracing::warn!("cannot clean up: {error}");
                }
                Err(error)
            }
        }
    }

    /// The pinned set of maps.
    #[must_use]
    pub fn pins(&self) -> &PinnedSet {
        &self.pins
    }

    /// The maps, once.
    ///
    /// # Errors
    /// When one is missing or of another type.
    pub fn take_maps(&mut self) -> Result<Maps, LoadError> {
        let mut filters = self.take("FILTERS")?;
        let filters = match &mut filters {
            Map::HashMap(data) => FilterTable::from_borrowed(data.fd().as_fd()).map_err(MapError::IoError),
            _ => return Err(LoadError::Lacking("hash map FILTERS")),
        };
        Ok(Maps {
            filters: filters.map_err(|source| LoadError::Map { name: "FILTERS", source })?,
            servers: self.typed("SERVERS")?,
            settings: self.typed("SETTINGS")?,
            counters: self.typed("COUNTERS")?,
            traffic: self.typed("SERVER_TRAFFIC")?,
            xsks: self.typed("XSKS")?,
        })
    }

    /// Writes the services and removes those that are no longer configured. Returns the service numbers that meant another
    /// before.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_services(&mut self, config: &FrontConfig) -> Result<Vec<Loss>, LoadError> {
        let mut map: HashMap<MapData, ServiceKey, ServiceEntry> = self.typed("SERVICES")?;
        replace_services(&mut map, &service_entries(config))
            .map_err(|source| LoadError::Map { name: "SERVICES", source })
    }

    /// Sets the interface towards the servers, if it is another than the clients'.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_out(&mut self, interface: u32) -> Result<(), LoadError> {
        let mut map: DevMap<MapData> = self.typed("OUT")?;
        map.set(0, interface, None, 0).map_err(|error| match error {
            XdpMapError::MapError(source) => LoadError::Map { name: "OUT", source },
            XdpMapError::ChainedProgramNotSupported => LoadError::Lacking("device map without programs"),
        })
    }

    /// Attaches the program to the clients' interface, or puts it in place of an older one.
    ///
    /// # Errors
    /// When the interface does not take it.
    pub fn attach(&mut self, config: &FrontConfig) -> Result<(), StartError> {
        let hook = match config.mode {
            Mode::Native => Hook::XdpNative,
            Mode::Skb => Hook::XdpSkb,
        };
        self.attach_program("front", &config.interface, hook)?;
        if let (Some(interface), Mode::Native) = (&config.server_interface, config.mode) {
            // Many drivers send redirected frames only while a program of their own is attached.
            if let Err(error) = self.attach_program("pass", interface, hook) {
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
        self.pins.remove()
    }

    fn attach_program(&mut self, name: &'static str, interface: &str, hook: Hook) -> Result<(), StartError> {
        let links = self.pins.links();
        let program = xdp(&mut self.ebpf, name)?;
        let fd = program.fd().map_err(|source| LoadError::Program { name, source })?;
        Attachment::new(fd.as_fd(), interface, hook, &links)?;
        Ok(())
    }

    fn take(&mut self, name: &'static str) -> Result<Map, LoadError> {
        self.ebpf.take_map(name).ok_or(LoadError::Lacking(name))
    }

    fn typed<T: TryFrom<Map, Error = MapError>>(&mut self, name: &'static str) -> Result<T, LoadError> {
        T::try_from(self.take(name)?).map_err(|source| LoadError::Map { name, source })
    }
}

/// The program cannot be loaded or attached.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Creates or opens the maps and has the kernel verify the programs.
fn load(pins: &PinnedSet) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    pins.configure(&mut loader);
    let mut ebpf = loader.load(objects::FRONT)?;
    pins.seal(&mut ebpf)?;
    for name in ["front", "pass"] {
        xdp(&mut ebpf, name)?.load().map_err(|source| {
            tracing::debug!("{source}");
            LoadError::Program { name, source }
        })?;
    }
    Ok(ebpf)
}

/// The error without the verifier's log, which has thousands of lines.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => format!("{io_error} (-v shows the verifier's log)"),
        other => other.to_string(),
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Lacking(name))?;
    program.try_into().map_err(|source| LoadError::Program { name, source })
}

/// One entry for each VIP and port, numbered as the model numbers them, and one for each VIP alone.
fn service_entries(config: &FrontConfig) -> Vec<(ServiceKey, ServiceEntry)> {
    let key = |vip: IpAddr, port: u16| ServiceKey::new(vip.into(), port.to_be());
    let pairs =
        config.services.iter().flat_map(|service| service.vips.iter().map(move |vip| (service, *vip)));
    let mut entries: Vec<(ServiceKey, ServiceEntry)> = Vec::new();
    for (id, (service, vip)) in pairs.enumerate() {
        let entry = ServiceEntry { id: id as u16, priority: service.priority.get(), reserved: 0 };
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
        if key.port_be != ANY_PORT && new.is_none_or(|(_, new)| new.id != entry.id) {
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
        let ids: Vec<_> = entries.iter().map(|(key, entry)| (u16::from_be(key.port_be), entry.id)).collect();
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

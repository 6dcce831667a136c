//! The front-end's eBPF program in the kernel: which maps it has, what it must know of the configuration, and where it is
//! attached. Keeps what a control plane before this one left, where it still fits.

use std::os::fd::OwnedFd;

use aya::maps::{Array, DevMap, HashMap, MapData, PerCpuArray, XskMap, xdp::XdpMapError};
use dispatcher_common::{
    admission::{PriorityStats, SourceKey},
    choice::RECORDS_PER_CPU,
    server::{ServerEntry, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_core::config::{FrontConfig, Mode};

use super::{
    ClassCacheTable, FilterTable,
    choice::{self, ChoiceMaps},
    kept,
    members::MemberMaps,
};
use crate::{
    kernel::{
        attach::Hook,
        object::{LoadError, LoadedObject},
        pin::{PinError, PinnedSet},
        table::Table,
    },
    objects,
};

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
    pub services: HashMap<MapData, ServiceKey, ServiceEntry>,
    pub members: MemberMaps,
    /// The ADMISSION map.
    pub admission: OwnedFd,
    /// The KEPT_REQUESTS map.
    pub kept_requests: OwnedFd,
    pub source_open: Table<SourceKey, u64>,
    pub priority_stats: PerCpuArray<MapData, PriorityStats>,
    pub xsks: XskMap<MapData>,
    pub choice: ChoiceMaps,
    pub class_cache: ClassCacheTable,
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
        let cpus = choice::cpus().map_err(LoadError::Cpus)? as u32;
        let sizes = [
            ("FILTERS", config.max_filters),
            ("KEPT_REQUESTS", kept::entries()),
            ("SOURCE_RATES", config.max_sources),
            ("SOURCE_OPEN", config.max_sources),
            ("DISPATCH_RECORDS", cpus * RECORDS_PER_CPU as u32),
            ("RECORD_HEADS", cpus),
            // A map has an entry at least.
            ("CLASS_CACHE", config.class_cache.max(1)),
        ];
        LoadedObject::load(objects::FRONT, &config.pin_path, &sizes, &["front", "inner"]).map(Self)
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
            services: self.0.typed("SERVICES")?,
            members: MemberMaps {
                lines: self.0.descriptor("MEMBERS")?,
                marks: self.0.descriptor("MEMBER_MARKS")?,
                levels: self.0.descriptor("MEMBER_LEVELS")?,
            },
            admission: self.0.descriptor("ADMISSION")?,
            kept_requests: self.0.descriptor("KEPT_REQUESTS")?,
            source_open: self.0.table("SOURCE_OPEN")?,
            priority_stats: self.0.typed("PRIORITY_STATS")?,
            xsks: self.0.typed("XSKS")?,
            choice: ChoiceMaps {
                services: self.0.descriptor("SERVICE_CHOICES")?,
                candidates: self.0.descriptor("CANDIDATES")?,
                class_servers: self.0.descriptor("CLASS_SERVERS")?,
                times: self.0.descriptor("SERVICE_TIMES")?,
                hot_homes: self.0.descriptor("HOT_HOMES")?,
                loads: self.0.descriptor("SERVER_LOADS")?,
                accounts: self.0.descriptor("ACCOUNTS")?,
                turns: self.0.descriptor("TURNS")?,
                records: self.0.descriptor("DISPATCH_RECORDS")?,
                heads: self.0.descriptor("RECORD_HEADS")?,
            },
            class_cache: self.0.table("CLASS_CACHE")?,
        })
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

    /// Attaches the programs to the clients' interface and, if it is another, to the servers', or puts them in place of older ones.
    ///
    /// # Errors
    /// When an interface does not take its program. The servers' needs one, too: what they send back is seen by nobody else, and
    /// many drivers send redirected frames only while a program of their own is attached.
    pub fn attach(&mut self, config: &FrontConfig) -> Result<(), LoadError> {
        let hook = match config.mode {
            Mode::Native => Hook::XdpNative,
            Mode::Skb => Hook::XdpSkb,
        };
        self.0.attach("front", &config.interface, hook)?;
        match &config.server_interface {
            Some(interface) => self.0.attach("inner", interface, hook),
            None => Ok(()),
        }
    }

    /// Detaches the programs and removes all pins.
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

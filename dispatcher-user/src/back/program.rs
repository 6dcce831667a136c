//! The server's programs in the kernel: linked to the running kernel's hand-off function and structure offsets, loaded,
//! attached. Keeps what an agent before this one left.

use std::net::IpAddr;

use aya::maps::{Array, HashMap, MapData, MapError};
use dispatcher_common::{
    service::{ServiceEntry, ServiceKey},
    settings::BackSettings,
};
use dispatcher_core::config::BackConfig;
use rand::random;

use super::{BackError, classes::ClassTable, flows::FlowTable, reporter::Counters};
use crate::{
    kernel::{
        attach::Hook,
        btf::KernelTypes,
        kfunc,
        object::{LoadError, LoadedObject},
        pin::PinError,
    },
    objects,
};

/// The loaded programs and where the running kernel keeps what they read.
#[derive(Debug)]
pub(super) struct Program {
    object: LoadedObject,
    offsets: Offsets,
}

/// Offsets of members that have no stable interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    tw_rcv_nxt: u32,
    /// 0 if the kernel has no MPTCP.
    is_mptcp: u32,
    write_seq: u32,
    copied_seq: u32,
    out_of_order_queue: u32,
    owned: u32,
    last_sent: u32,
    time_out: u32,
}

/// The maps that other parts of the agent own.
pub(super) struct Maps {
    pub settings: Array<MapData, BackSettings>,
    pub services: HashMap<MapData, ServiceKey, ServiceEntry>,
    pub counters: Counters,
    pub classes: ClassTable,
    pub flows: FlowTable,
    pub held: Array<MapData, u64>,
    pub boot: Array<MapData, u64>,
}

impl Offsets {
    fn find(types: &KernelTypes) -> Result<Self, BackError> {
        Ok(Self {
            tw_rcv_nxt: types.require("sock_common", "skc_tw_rcv_nxt")?,
            is_mptcp: types.member_offset("tcp_sock", "is_mptcp").unwrap_or(0),
            write_seq: types.require("tcp_sock", "write_seq")?,
            copied_seq: types.require("tcp_sock", "copied_seq")?,
            out_of_order_queue: types.require("tcp_sock", "out_of_order_queue")?,
            owned: types.require("sock", "sk_lock.owned")?,
            last_sent: types.require("tcp_sock", "lsndtime")?,
            time_out: types.require("inet_connection_sock", "icsk_rto")?,
        })
    }

    /// Writes them into the settings.
    pub(super) fn apply(self, settings: BackSettings) -> BackSettings {
        BackSettings {
            tw_rcv_nxt_offset: self.tw_rcv_nxt,
            is_mptcp_offset: self.is_mptcp,
            write_seq_offset: self.write_seq,
            copied_seq_offset: self.copied_seq,
            out_of_order_queue_offset: self.out_of_order_queue,
            owned_offset: self.owned,
            last_sent_offset: self.last_sent,
            time_out_offset: self.time_out,
            ..settings
        }
    }
}

impl Program {
    /// Loads the programs; they see no packet before [`attach`](Self::attach).
    pub(super) fn load(config: &BackConfig) -> Result<Self, BackError> {
        let types = KernelTypes::read()?;
        let linked = kfunc::link(objects::BACK, types.function_id(kfunc::FUNCTION))?;
        let offsets = Offsets::find(&types)?;
        let object =
            LoadedObject::load(&linked, &config.pin_path, &[], &["back", "back_out", "back_socket"])?;
        Ok(Self { object, offsets })
    }

    pub(super) fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Whether the maps hold what an earlier agent left.
    pub(super) fn is_reused(&self) -> bool {
        self.object.pins().is_reused()
    }

    /// The maps, once.
    pub(super) fn take_maps(&mut self) -> Result<Maps, LoadError> {
        Ok(Maps {
            settings: self.object.typed("SETTINGS")?,
            services: self.object.typed("SERVICES")?,
            counters: self.object.typed("COUNTERS")?,
            classes: self.object.per_cpu_table("CLASS_STATS")?,
            flows: self.object.table("FLOWS")?,
            held: self.object.typed("HELD")?,
            boot: self.object.typed("BOOT")?,
        })
    }

    /// Attaches the programs. Egress before ingress: a request that ingress takes in must not be answered unseen. Without the one
    /// for sockets everything works, only slower at first.
    pub(super) fn attach(&mut self, config: &BackConfig) -> Result<(), LoadError> {
        if let Err(error) = self.object.attach_to_sockets("back_socket") {
            tracing::warn!(
                "{error}; until the agent is started again after that, connections that come from other servers begin with the \
                 initial congestion window"
            );
        }
        self.object.attach("back_out", &config.interface, Hook::Egress)?;
        self.object.attach("back", &config.interface, Hook::Ingress)
    }

    pub(super) fn remove(self) -> Result<(), PinError> {
        self.object.remove()
    }

    pub(super) fn give_up(self) {
        self.object.give_up();
    }
}

/// Identity of this server's life: as long as the pinned maps live, its sockets and flows do. 0 is none yet.
pub(super) fn boot_id(map: &mut Array<MapData, u64>) -> Result<u64, MapError> {
    match map.get(&0, 0)? {
        0 => {
            let id = random::<u64>().max(1);
            map.set(0, id, 0)?;
            Ok(id)
        }
        id => Ok(id),
    }
}

/// Writes the services and removes those that are no longer configured. A service is numbered by its place in the
/// configuration; flows of a service that has another number now are forgotten in time.
pub(super) fn replace_services(
    mut map: HashMap<MapData, ServiceKey, ServiceEntry>,
    config: &BackConfig,
) -> Result<(), MapError> {
    let wanted: Vec<_> = endpoints(config)
        .enumerate()
        .map(|(id, (vip, port))| {
            let entry = ServiceEntry { id: id as u16, ..ServiceEntry::default() };
            (ServiceKey::new(vip.into(), port.to_be()), entry)
        })
        .collect();
    let old: Vec<ServiceKey> = map.keys().collect::<Result<_, _>>()?;
    for key in old.iter().filter(|key| wanted.iter().all(|(wanted, _)| wanted != *key)) {
        map.remove(key)?;
    }
    for (key, entry) in wanted {
        map.insert(key, entry, 0)?;
    }
    Ok(())
}

/// All pairs of VIP and port, in the order of their numbers.
pub(super) fn endpoints(config: &BackConfig) -> impl Iterator<Item = (IpAddr, u16)> + '_ {
    config.services.iter().flat_map(|service| service.vips.iter().map(|vip| (*vip, service.port)))
}

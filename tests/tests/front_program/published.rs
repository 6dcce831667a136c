//! What the program chooses by, published as the control plane does, from a cluster and a policy of one's own.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use dispatcher_core::{
    cluster::Cluster,
    ids::{ClassId, ServerId},
    policy::{Policy, PolicySettings},
    report::{ClassReport, Report},
};
use dispatcher_user::front::choice::{ChoiceMaps, Choices, Terms};

use crate::{program::coarse_clock_ns, scene::OWNER};

const WALL_MS: u64 = 1_800_000_000_000;

/// The program's maps for it.
pub(crate) fn choices(ebpf: &Ebpf) -> Choices {
    let fd = |name| descriptor(ebpf.map(name).unwrap());
    let maps = ChoiceMaps {
        services: fd("SERVICE_CHOICES"),
        candidates: fd("CANDIDATES"),
        class_servers: fd("CLASS_SERVERS"),
        times: fd("SERVICE_TIMES"),
        hot_homes: fd("HOT_HOMES"),
        loads: fd("SERVER_LOADS"),
        accounts: fd("ACCOUNTS"),
        turns: fd("TURNS"),
        records: fd("DISPATCH_RECORDS"),
        heads: fd("RECORD_HEADS"),
    };
    Choices::map(&maps).unwrap()
}

fn descriptor(map: &Map) -> OwnedFd {
    let Map::Array(data) = map else { panic!("an array map") };
    let data: &MapData = data;
    data.fd().as_fd().try_clone_to_owned().unwrap()
}

/// A cluster with a policy.
pub(crate) struct Published {
    pub(crate) cluster: Cluster,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) ids: Vec<ServerId>,
    pub(crate) now: Duration,
    classes: u16,
    sequence: u64,
}

impl Published {
    /// Of so many servers, all silent.
    pub(crate) fn new(settings: &PolicySettings, servers: u16, classes: u16) -> Self {
        let ids: Vec<_> = (0..servers).map(ServerId).collect();
        let names = ids.iter().map(|id| id.0.to_string());
        let mut cluster = Cluster::new(names, classes.into(), Duration::from_millis(100));
        ids.iter().for_each(|&id| cluster.set_mac_known(id, true));
        let policy = settings.build(ClassId(0), classes.into()).unwrap();
        Self { cluster, policy, ids, now: Duration::ZERO, classes, sequence: 0 }
    }

    /// A report of so many requests held and their service time, by class.
    pub(crate) fn report(&mut self, choices: &mut Choices, server: u16, classes: &[(u32, u32)]) {
        self.sequence += 1;
        let entry = |(class, &(held, service_us)): (usize, &(u32, u32))| ClassReport {
            class: class as u16,
            held,
            service_us,
        };
        let report = Report {
            server: server.to_string(),
            boot_id: 1,
            sequence: self.sequence,
            sent_at_ms: WALL_MS,
            queue: classes.iter().map(|(held, _)| held).sum(),
            load_us: 0,
            accepted: 0,
            connections: 0,
            cpu_permille: 0,
            listen_overflows: 0,
            classes: classes.iter().enumerate().map(entry).collect(),
        };
        self.now += Duration::from_millis(101);
        let accepted = self.cluster.accept(&report, self.now, WALL_MS).unwrap();
        self.policy.reported(ServerId(server), &accepted.classes, &self.cluster.view(&self.ids));
        choices.publish_times(&self.cluster, ServerId(server), (0..self.classes).map(ClassId));
    }

    /// Publishes all of it, for so long.
    pub(crate) fn publish(&self, choices: &mut Choices, valid_for: Duration, load_bound: Option<Duration>) {
        let (policy, owner, now_us) = (self.policy.as_ref(), OWNER.into(), coarse_clock_ns() / 1000);
        choices.publish_loads(&self.cluster, now_us);
        choices.publish_classes(policy, (0..self.classes).map(ClassId));
        let servers = self.cluster.view(&self.ids);
        let valid_until_us = now_us + valid_for.as_micros() as u64;
        choices.publish_service(owner, policy, &Terms { servers, load_bound, valid_until_us });
        choices.publish_turn(owner, policy);
    }
}

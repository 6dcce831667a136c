//! The choice of a server by the front-end's program: what the program must know is published here, what it dispatched is learnt
//! from here. Decisions are `dispatcher_common::choice`'s and learning is the decision core's; this owns the memory between.

mod loads;
mod records;
mod services;
#[cfg(test)]
mod tests;
mod words;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use dispatcher_common::choice::DispatchRecord;
use dispatcher_core::{
    cluster::Cluster,
    ids::{ClassId, ServerId},
    policy::Policy,
};

use self::{loads::Loads, records::Records, services::Services};
pub use self::{records::cpus, services::Terms};

/// The program's maps for it.
#[derive(Debug)]
pub struct ChoiceMaps {
    pub services: OwnedFd,
    pub candidates: OwnedFd,
    pub class_servers: OwnedFd,
    pub times: OwnedFd,
    pub hot_homes: OwnedFd,
    pub loads: OwnedFd,
    pub accounts: OwnedFd,
    pub turns: OwnedFd,
    pub records: OwnedFd,
    pub heads: OwnedFd,
}

/// What the program chooses by. Call it with the cluster's lock held.
#[derive(Debug)]
pub struct Choices {
    services: Services,
    loads: Loads,
    records: Records,
    /// Room for records.
    drained: Vec<DispatchRecord>,
}

impl Choices {
    /// On the program's maps. Nothing is chosen there before the first [`publish_service`](Self::publish_service); what was
    /// dispatched before is of no interest.
    ///
    /// # Errors
    /// When one cannot be mapped.
    pub fn map(maps: &ChoiceMaps) -> io::Result<Self> {
        Ok(Self {
            services: Services::map(maps)?,
            loads: Loads::map(maps.loads.as_fd(), maps.accounts.as_fd())?,
            records: Records::map(maps.records.as_fd(), maps.heads.as_fd())?,
            drained: Vec::new(),
        })
    }

    /// In memory that no program sees.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            services: Services::in_memory(),
            loads: Loads::in_memory(),
            records: Records::in_memory(),
            drained: Vec::new(),
        }
    }

    /// What the program dispatched since the last call, the oldest of each CPU first, and how much was lost because it was too
    /// long ago. Give the room back by [`recycle`](Self::recycle).
    pub fn drain(&mut self) -> (Vec<DispatchRecord>, u64) {
        let mut drained = std::mem::take(&mut self.drained);
        let lost = self.records.drain(&mut drained);
        for record in &drained {
            self.loads.saw(record.server, record.work_us);
        }
        if lost > 0 {
            self.loads.forget_what_was_lost();
        }
        (drained, lost)
    }

    pub fn recycle(&mut self, mut drained: Vec<DispatchRecord>) {
        drained.clear();
        self.drained = drained;
    }

    /// Notes a dispatch of the control plane's own, which the cluster has counted already.
    pub fn dispatched(&mut self, server: ServerId, work_us: u32) {
        self.loads.dispatched(server.0, work_us);
    }

    /// Publishes what all servers hold at a moment on the program's clock.
    pub fn publish_loads(&mut self, cluster: &Cluster, now_us: u64) {
        self.loads.publish(cluster, now_us);
    }

    /// Publishes service times that a server has measured, and the means that they change.
    pub fn publish_times(
        &mut self,
        cluster: &Cluster,
        server: ServerId,
        classes: impl Iterator<Item = ClassId>,
    ) {
        self.services.publish_times(cluster, server, classes);
    }

    /// Publishes all that the program needs to choose for a service.
    pub fn publish_service(&mut self, owner: usize, policy: &dyn Policy, terms: &Terms<'_>) {
        self.services.publish(owner, policy, terms);
    }

    /// Publishes the servers of some classes, where their policy binds classes.
    pub fn publish_classes(&mut self, policy: &dyn Policy, classes: impl Iterator<Item = ClassId>) {
        self.services.publish_classes(policy, classes);
    }

    /// Publishes whose turn it was, where a policy takes turns.
    pub fn publish_turn(&mut self, owner: usize, policy: &dyn Policy) {
        self.services.publish_turn(owner, policy);
    }
}

#[cfg(test)]
impl Choices {
    /// As the program does when it has chosen.
    pub(super) fn note_as_the_program(&self, record: &DispatchRecord) {
        self.loads.add_as_the_program(record.server, record.work_us);
        self.records.write(0, record);
    }

    /// Servers that the program may choose for a service.
    pub(super) fn candidates(&self, owner: usize) -> Vec<u16> {
        self.services.candidates_in_force(owner)
    }
}

//! The servers of one service to which new flows may go now. Policies see servers only through it, so none can
//! choose one that is silent, draining or unreachable.

use std::time::Duration;

use super::{Cluster, Health, Server};
use crate::ids::{ClassId, ServerId};

/// The eligible servers among `members`, in order of their ids.
#[derive(Debug, Clone, Copy)]
pub struct ServerView<'a> {
    cluster: &'a Cluster,
    members: &'a [ServerId],
}

impl<'a> ServerView<'a> {
    pub(super) fn new(cluster: &'a Cluster, members: &'a [ServerId]) -> Self {
        debug_assert!(members.is_sorted(), "members of a service are kept in order");
        Self { cluster, members }
    }

    /// All eligible servers.
    pub fn iter(&self) -> impl Iterator<Item = &'a Server> + use<'a> {
        let cluster = self.cluster;
        self.members
            .iter()
            .filter_map(|&id| cluster.server(id))
            .filter(|server| server.health() == Health::Up)
    }

    /// One server, if it belongs to the service and is eligible.
    #[must_use]
    pub fn get(&self, id: ServerId) -> Option<&'a Server> {
        self.members.binary_search(&id).ok()?;
        self.cluster.server(id).filter(|server| server.health() == Health::Up)
    }

    /// Mean service time of a request in the cluster, above zero.
    #[must_use]
    pub fn mean_service_time(&self) -> Duration {
        self.cluster.mean_service_time()
    }

    /// Expected service time of a request of `class` on `server`.
    #[must_use]
    pub fn service_time(&self, server: ServerId, class: ClassId) -> Duration {
        self.cluster.service_time(server, class)
    }
}

//! Memories of servers. Owns what they have in common and the choice of kind; each kind has a file.
//! What a miss costs is the engine's business.

mod gds;
mod gms;
mod lru;
mod recency;

use dispatcher_core::ids::ServerId;

use crate::{
    request::{Found, Request},
    settings::{CacheKind, ClusterSettings},
};

pub use gds::GreedyDualSize;
pub use gms::GlobalMemory;
pub use lru::Lru;

/// All memories of a cluster.
#[derive(Debug, Clone)]
pub enum Memories {
    /// Each server has its own.
    Lru(Vec<Lru>),
    /// Each server has its own.
    Gds(Vec<GreedyDualSize>),
    /// They are one.
    Gms(GlobalMemory),
}

impl Memories {
    /// Empty memories, each with room for `capacity`.
    #[must_use]
    pub fn new(settings: &ClusterSettings, capacity: u64) -> Self {
        let servers = usize::from(settings.servers);
        match settings.cache_kind {
            CacheKind::Lru => Self::Lru(vec![Lru::new(capacity); servers]),
            CacheKind::Gds => Self::Gds(vec![GreedyDualSize::new(capacity); servers]),
            CacheKind::Gms => Self::Gms(GlobalMemory::new(settings.servers, capacity)),
        }
    }

    /// Looks for the content of a request on a server, and keeps it there from now on.
    pub fn fetch(&mut self, server: ServerId, request: &Request) -> Found {
        let (context, size) = (request.context, request.size);
        let hit = match self {
            Self::Lru(caches) => caches[server.index()].fetch(context, size),
            Self::Gds(caches) => caches[server.index()].fetch(context, size, request.miss_us),
            Self::Gms(memory) => return memory.fetch(server, context, size),
        };
        if hit { Found::Here } else { Found::Nowhere }
    }

    /// A server loses what it holds.
    pub fn clear(&mut self, server: ServerId) {
        match self {
            Self::Lru(caches) => caches[server.index()].clear(),
            Self::Gds(caches) => caches[server.index()].clear(),
            Self::Gms(memory) => memory.clear(server),
        }
    }
}

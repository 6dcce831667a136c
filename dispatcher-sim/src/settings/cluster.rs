//! Parameters of the servers.
//! Owns their defaults; how large a memory is depends on what it holds, so that is the workload's.

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::{Failure, Slowdown};
use crate::span::Span;

/// How a server's memory is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheKind {
    /// The least recently used content goes
    Lru,
    /// Greedy-Dual-Size: cheap and large content goes first
    Gds,
    /// All servers' memories as one: what another server holds comes from there
    Gms,
}

/// The servers.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Servers")]
pub struct ClusterSettings {
    /// N: number of servers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub servers: u16,
    /// How the memory of a server is kept
    #[arg(long, value_enum, default_value_t = CacheKind::Lru)]
    pub cache_kind: CacheKind,
    /// What a miss costs in service time, beside the service on a hit
    #[arg(long, value_name = "TIME", default_value_t = Span::ms(40))]
    pub miss: Span,
    /// What content from another server's memory costs instead of a miss, with --cache-kind gms
    #[arg(long, value_name = "TIME", default_value_t = Span::ms(10))]
    pub remote: Span,
    /// Requests that a server holds at most, the one in service included; 0 for any number
    #[arg(long, value_name = "REQUESTS", default_value_t = 0)]
    pub queue_limit: u32,
    /// A server that is slower by a factor, always or for a time: 1:3, or 1:3@10s..20s
    #[arg(long, value_name = "SERVER:FACTOR")]
    pub slow: Vec<Slowdown>,
    /// A server that fails with all it holds and returns with an empty memory: 2@10s..20s
    #[arg(long, value_name = "SERVER@FROM..TO")]
    pub fail: Vec<Failure>,
}

/// An incident is said to happen to a server that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no server {server} among {servers}; --slow and --fail count from 1")]
pub struct NoSuchServer {
    server: u16,
    servers: u16,
}

impl ClusterSettings {
    /// Whether incidents happen to servers that exist. Where they do not, a simulation ignores them.
    ///
    /// # Errors
    /// With the first server that does not.
    pub fn check(&self) -> Result<(), NoSuchServer> {
        let slow = self.slow.iter().map(|slowdown| slowdown.server);
        let named = slow.chain(self.fail.iter().map(|failure| failure.server));
        let missing = named.into_iter().find(|server| !(1..=self.servers).contains(server));
        missing.map_or(Ok(()), |server| Err(NoSuchServer { server, servers: self.servers }))
    }
}

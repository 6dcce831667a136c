//! How many entries of a policy's table name each server: where load is equal, the server with fewer entries gets the
//! next one. Owns the counting only.

use crate::ids::ServerId;

/// A count for each server.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerCounts(Vec<u32>);

impl ServerCounts {
    pub(super) fn of(&self, server: ServerId) -> u32 {
        self.0.get(server.index()).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, server: ServerId) {
        if self.0.len() <= server.index() {
            self.0.resize(server.index() + 1, 0);
        }
        self.0[server.index()] += 1;
    }

    /// Takes back one [`add`](Self::add).
    pub(super) fn take(&mut self, server: ServerId) {
        if let Some(count) = self.0.get_mut(server.index()) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn total(&self) -> usize {
        self.0.iter().map(|&count| count as usize).sum()
    }
}

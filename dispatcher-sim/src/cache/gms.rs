//! The global memory of LARD's authors: all servers' memories as one, in which what another server holds comes from there.
//! One least recently used order over the whole cluster; content moves to the server that fetches it.

use dispatcher_core::ids::ServerId;

use super::recency::Recency;
use crate::request::Found;

#[derive(Debug, Clone, Copy)]
struct Held {
    server: ServerId,
    size: u64,
}

/// The memory of all servers.
#[derive(Debug, Clone)]
pub struct GlobalMemory {
    capacity: u64,
    used: u64,
    contents: Recency<Held>,
}

impl GlobalMemory {
    /// An empty memory, each server with room for `capacity`.
    #[must_use]
    pub fn new(servers: u16, capacity: u64) -> Self {
        Self { capacity: u64::from(servers) * capacity, used: 0, contents: Recency::new() }
    }

    /// Where the content is. Afterwards `server` has it, unless it is larger than the memory.
    pub fn fetch(&mut self, server: ServerId, context: u64, size: u64) -> Found {
        if let Some(held) = self.contents.touch(context) {
            let holder = std::mem::replace(&mut held.server, server);
            return if holder == server { Found::Here } else { Found::Elsewhere };
        }
        if size <= self.capacity {
            while self.used + size > self.capacity {
                self.used -= self.contents.pop_oldest().map_or(self.used, |held| held.size);
            }
            self.used += size;
            self.contents.insert(context, Held { server, size });
        }
        Found::Nowhere
    }

    /// A server loses what it holds.
    pub fn clear(&mut self, server: ServerId) {
        let used = &mut self.used;
        self.contents.remove_where(|held| held.server == server, |held| *used -= held.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_another_server_comes_from_there() {
        let mut memory = GlobalMemory::new(2, 1);
        let (a, b) = (ServerId(0), ServerId(1));
        assert_eq!(memory.fetch(a, 1, 1), Found::Nowhere);
        assert_eq!(memory.fetch(b, 1, 1), Found::Elsewhere);
        assert_eq!(memory.fetch(b, 1, 1), Found::Here);
        memory.fetch(a, 2, 1);
        memory.clear(b);
        assert_eq!(memory.fetch(a, 1, 1), Found::Nowhere);
        assert_eq!(memory.fetch(a, 2, 1), Found::Here);
    }
}

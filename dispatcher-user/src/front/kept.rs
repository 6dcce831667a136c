//! The KEPT_REQUESTS map: how many requests on kept connections the kernel's program has sent to each server. They pass without a
//! decision, so without these numbers a server's load would be known only by its next report.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use dispatcher_common::limits::MAX_SERVERS;
use dispatcher_core::ids::ServerId;

use crate::kernel::mapped::MappedWords;

/// The counts, and how much of them has been seen.
#[derive(Debug)]
pub struct KeptRequests {
    counts: MappedWords,
    seen: Box<[AtomicU64]>,
}

impl KeptRequests {
    /// The map of the kernel's program; what it has counted before is of no interest.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::of(MappedWords::map(fd, MAX_SERVERS)?))
    }

    /// One that no program sees.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::of(MappedWords::in_memory(MAX_SERVERS))
    }

    fn of(counts: MappedWords) -> Self {
        let seen = (0..MAX_SERVERS).map(|server| AtomicU64::new(counts.read::<1>(server)[0])).collect();
        Self { counts, seen }
    }

    /// Requests since the last call. Call it with the cluster's lock held.
    #[must_use]
    pub fn fresh(&self, server: ServerId) -> u64 {
        let Some(seen) = self.seen.get(server.index()) else { return 0 };
        let [now] = self.counts.read(server.index());
        now.wrapping_sub(seen.swap(now, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_fresh_once() {
        let kept = KeptRequests::in_memory();
        kept.counts.write(2, 5);
        assert_eq!((kept.fresh(ServerId(2)), kept.fresh(ServerId(2)), kept.fresh(ServerId(1))), (5, 0, 0));
        kept.counts.write(2, 7);
        assert_eq!(kept.fresh(ServerId(2)), 2);
    }
}

//! The KEPT_REQUESTS map: how many requests on kept connections the kernel's program has sent to each server. They pass without a
//! decision, so without these numbers a server's load would be known only by its next report. Each CPU counts for itself.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::util::nr_cpus;
use dispatcher_common::limits::MAX_SERVERS;
use dispatcher_core::ids::ServerId;

use crate::kernel::mapped::MappedWords;

/// The counts, and how much of them has been seen.
#[derive(Debug)]
pub struct KeptRequests {
    counts: MappedWords,
    cpus: usize,
    /// Of all CPUs, by server.
    seen: Box<[AtomicU64]>,
}

/// CPUs that the kernel may ever have; one if it does not say.
fn cpus() -> usize {
    nr_cpus().unwrap_or(1)
}

/// Entries of the map.
#[must_use]
pub fn entries() -> u32 {
    (cpus() * MAX_SERVERS) as u32
}

impl KeptRequests {
    /// The map of the kernel's program; what it has counted before is of no interest.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::of(MappedWords::map(fd, cpus() * MAX_SERVERS)?, cpus()))
    }

    /// One that no program sees.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::of(MappedWords::in_memory(MAX_SERVERS), 1)
    }

    fn of(counts: MappedWords, cpus: usize) -> Self {
        let seen = (0..MAX_SERVERS).map(|server| AtomicU64::new(total(&counts, cpus, server))).collect();
        Self { counts, cpus, seen }
    }

    /// Requests since the last call. Call it with the cluster's lock held.
    #[must_use]
    pub fn fresh(&self, server: ServerId) -> u64 {
        let Some(seen) = self.seen.get(server.index()) else { return 0 };
        let now = total(&self.counts, self.cpus, server.index());
        now.wrapping_sub(seen.swap(now, Ordering::Relaxed))
    }
}

/// Requests that all CPUs have counted for a server.
fn total(counts: &MappedWords, cpus: usize, server: usize) -> u64 {
    (0..cpus).map(|cpu| counts.read::<1>(cpu * MAX_SERVERS + server)[0]).fold(0, u64::wrapping_add)
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

    #[test]
    fn requests_of_all_cpus_count() {
        let kept = KeptRequests::of(MappedWords::in_memory(3 * MAX_SERVERS), 3);
        for cpu in 0..3 {
            kept.counts.write(cpu * MAX_SERVERS + 9, 1 + cpu as u64);
        }
        assert_eq!((kept.fresh(ServerId(9)), kept.fresh(ServerId(9)), kept.fresh(ServerId(8))), (6, 0, 0));
    }
}

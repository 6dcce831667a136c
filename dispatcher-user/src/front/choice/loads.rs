//! What the servers hold: published loads, and the accounts of what was dispatched to each, which the program and the slow path add
//! to. A load says how much of the account it includes, so every dispatch counts at once, and once.

use std::{io, os::fd::BorrowedFd};

use dispatcher_common::{
    choice::{Account, Added, ServerLoad},
    limits::MAX_SERVERS,
};
use dispatcher_core::cluster::Cluster;

use crate::kernel::mapped::MappedWords;

const LOAD_WORDS: usize = size_of::<ServerLoad>() / size_of::<u64>();
const ACCOUNT_WORDS: usize = size_of::<Account>() / size_of::<u64>();

#[derive(Debug)]
pub(super) struct Loads {
    published: MappedWords,
    accounts: MappedWords,
    /// What of each account the cluster knows.
    seen: Vec<Added>,
}

impl Loads {
    pub(super) fn map(loads: BorrowedFd<'_>, accounts: BorrowedFd<'_>) -> io::Result<Self> {
        let published = MappedWords::map(loads, MAX_SERVERS * LOAD_WORDS)?;
        Ok(Self::of(published, MappedWords::map(accounts, MAX_SERVERS * ACCOUNT_WORDS)?))
    }

    pub(super) fn in_memory() -> Self {
        let words = |count| MappedWords::in_memory(MAX_SERVERS * count);
        Self::of(words(LOAD_WORDS), words(ACCOUNT_WORDS))
    }

    fn of(published: MappedWords, accounts: MappedWords) -> Self {
        let seen = (0..MAX_SERVERS).map(|server| added(&accounts, server)).collect();
        Self { published, accounts, seen }
    }

    /// The cluster has learnt of a dispatch that the program made.
    pub(super) fn saw(&mut self, server: u16, work_us: u32) {
        if let Some(seen) = self.seen.get_mut(usize::from(server)) {
            *seen = seen.plus(Added::request(work_us));
        }
    }

    /// The cluster has learnt of a dispatch of our own: the program is told.
    pub(super) fn dispatched(&mut self, server: u16, work_us: u32) {
        if usize::from(server) < MAX_SERVERS {
            self.accounts.add(usize::from(server) * ACCOUNT_WORDS, Added::request(work_us).0);
            self.saw(server, work_us);
        }
    }

    /// Nobody will ever learn of some dispatches; the servers' next reports include them. One that is just being made may be
    /// taken for one of them, and then corrects itself in [`publish`](Self::publish).
    pub(super) fn forget_what_was_lost(&mut self) {
        for (server, seen) in self.seen.iter_mut().enumerate() {
            *seen = added(&self.accounts, server);
        }
    }

    pub(super) fn publish(&mut self, cluster: &Cluster, now_us: u64) {
        for (id, server) in cluster.servers().iter().enumerate().take(MAX_SERVERS) {
            let (added, seen) = (added(&self.accounts, id), &mut self.seen[id]);
            if added.is_behind(*seen) {
                *seen = added;
            }
            let load = ServerLoad::new(server.load().as_micros() as u64, server.queue(), now_us, *seen);
            for (at, word) in load.words().into_iter().enumerate() {
                self.published.write(id * LOAD_WORDS + at, word);
            }
        }
    }
}

fn added(accounts: &MappedWords, server: usize) -> Added {
    let [added, ..] = accounts.read::<ACCOUNT_WORDS>(server);
    Added(added)
}

#[cfg(test)]
impl Loads {
    /// T and q as the program reckons them now.
    pub(super) fn as_the_program_sees(&self, server: u16, now_us: u64) -> (u64, u32) {
        let server = usize::from(server);
        let load = ServerLoad::from_words(self.published.read(server));
        let added = added(&self.accounts, server);
        (load.load_us(added, now_us), load.queue(added))
    }

    /// As the program does.
    pub(super) fn add_as_the_program(&self, server: u16, work_us: u32) {
        self.accounts.add(usize::from(server) * ACCOUNT_WORDS, Added::request(work_us).0);
    }
}

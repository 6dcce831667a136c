//! The ADMISSION map: for each configured service what the data plane decides by, and how many flows are open. Everyone who opens
//! or closes a flow counts here, the kernel's program too, so the numbers need no look at the filter-table.

use std::{io, os::fd::BorrowedFd};

use dispatcher_common::{
    admission::AdmissionEntry,
    limits::{MAX_SERVICES, PRIORITIES},
};

use crate::kernel::mapped::MappedWords;

/// Words of an entry.
const WORDS: usize = size_of::<AdmissionEntry>() / size_of::<u64>();

/// Words before the counts of open flows.
const OPEN_AT: usize = WORDS - PRIORITIES;

/// All entries.
#[derive(Debug)]
pub struct Ledger(MappedWords);

impl Ledger {
    /// The map of the kernel's program.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        MappedWords::map(fd, MAX_SERVICES * WORDS).map(Self)
    }

    /// One that no program sees.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(MappedWords::in_memory(MAX_SERVICES * WORDS))
    }

    /// The entry of a configured service, as it stands.
    #[must_use]
    pub fn entry(&self, owner: usize) -> AdmissionEntry {
        let words: [u64; WORDS] = self.0.read(owner);
        // SAFETY: of the same size, and any words are an entry.
        unsafe { std::mem::transmute(words) }
    }

    /// Writes all of an entry but the counts of open flows.
    pub fn set(&self, owner: usize, entry: &AdmissionEntry) {
        // SAFETY: of the same size and without padding.
        let words: [u64; WORDS] = unsafe { std::mem::transmute(*entry) };
        for (at, word) in words[..OPEN_AT].iter().enumerate() {
            self.0.write(owner * WORDS + at, *word);
        }
    }

    /// Counts a flow as open.
    pub fn open(&self, owner: usize, priority: u8) {
        self.add(owner, priority, 1);
    }

    /// Counts a flow as closed.
    pub fn close(&self, owner: usize, priority: u8) {
        self.add(owner, priority, -1);
    }

    /// Corrects a count.
    pub fn add(&self, owner: usize, priority: u8, difference: i64) {
        let word = owner * WORDS + OPEN_AT + usize::from(priority) % PRIORITIES;
        self.0.add(word, difference.cast_unsigned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_kept_when_an_entry_is_written() {
        let ledger = Ledger::in_memory();
        ledger.open(3, 5);
        ledger.open(3, 5);
        ledger.close(3, 0);
        let rules = AdmissionEntry {
            limit: 184,
            overloaded: 1,
            ways: [2; PRIORITIES],
            source_masks: [[1, 2], [3, 4]],
            open: [9; PRIORITIES],
            ..AdmissionEntry::default()
        };
        ledger.set(3, &rules);
        assert_eq!(ledger.entry(3), AdmissionEntry { open: [u64::MAX, 0, 0, 0, 0, 2, 0, 0], ..rules });
        assert_eq!(ledger.entry(2), AdmissionEntry::default());
    }
}

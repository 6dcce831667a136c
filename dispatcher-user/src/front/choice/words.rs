//! A map of the program that the control plane alone writes: a word is written only if it changes, so that other CPUs keep their
//! copies of the cache line.

use std::{io, os::fd::BorrowedFd};

use crate::kernel::mapped::MappedWords;

/// The words, and what is in them.
#[derive(Debug)]
pub(super) struct Words {
    mapped: MappedWords,
    known: Vec<u64>,
}

impl Words {
    /// Maps an array map of so many words altogether and clears it.
    pub(super) fn map(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let mapped = MappedWords::map(fd, count)?;
        (0..count).for_each(|word| mapped.write(word, 0));
        Ok(Self { mapped, known: vec![0; count] })
    }

    /// Zeroes that nobody else sees.
    pub(super) fn in_memory(count: usize) -> Self {
        Self { mapped: MappedWords::in_memory(count), known: vec![0; count] }
    }

    pub(super) fn get(&self, word: usize) -> u64 {
        self.known[word]
    }

    pub(super) fn set(&mut self, word: usize, value: u64) {
        if self.known[word] != value {
            self.known[word] = value;
            self.mapped.write(word, value);
        }
    }

    /// What the program reads.
    #[cfg(test)]
    pub(super) fn mapped(&self) -> &MappedWords {
        &self.mapped
    }
}

//! An array map in the process's memory (`BPF_F_MMAPABLE`, Linux 5.5): what programs count there is read, and counted further,
//! without a system call. What the words mean is decided elsewhere.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Pod;

/// The words of a map, or of memory that stands for one.
#[derive(Debug)]
pub struct MappedWords {
    words: Words,
}

#[derive(Debug)]
enum Words {
    Map { start: NonNull<AtomicU64>, count: usize },
    Memory(Box<[AtomicU64]>),
}

// SAFETY: the pointer is to shared memory that only atomic operations touch, and which lives as long as the value.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl MappedWords {
    /// Maps an array map of so many words altogether.
    ///
    /// # Errors
    /// When the map was not made for it.
    pub fn map(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                count * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { words: Words::Map { start, count } })
    }

    /// Zeroes that nobody else sees.
    #[must_use]
    pub fn in_memory(count: usize) -> Self {
        Self { words: Words::Memory((0..count).map(|_| AtomicU64::new(0)).collect()) }
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.words {
            // SAFETY: mapped for so many aligned words until the value is dropped.
            Words::Map { start, count } => unsafe {
                std::slice::from_raw_parts(start.as_ptr().cast_const(), *count)
            },
            Words::Memory(words) => words,
        }
    }

    /// The words of an entry that has `N` of them.
    ///
    /// # Panics
    /// When the map has no such entry.
    #[must_use]
    pub fn read<const N: usize>(&self, entry: usize) -> [u64; N] {
        let words = &self.words()[entry * N..][..N];
        std::array::from_fn(|at| words[at].load(Ordering::Relaxed))
    }

    /// Replaces a word.
    pub fn write(&self, word: usize, value: u64) {
        self.words()[word].store(value, Ordering::Relaxed);
    }

    /// Replaces as many values as there are, from a word on.
    ///
    /// # Panics
    /// When the map ends before them.
    pub fn copy_from<T: Pod>(&self, word: usize, values: &[T]) {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>()) && align_of::<T>() >= align_of::<u64>()) };
        let count = size_of_val(values) / size_of::<u64>();
        // SAFETY: plain data of so many aligned words.
        let from = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u64>(), count) };
        for (to, from) in self.words()[word..][..count].iter().zip(from) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    /// Adds to a word, modulo 2^64, beside whoever else does.
    pub fn add(&self, word: usize, addend: u64) {
        self.words()[word].fetch_add(addend, Ordering::Relaxed);
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        if let Words::Map { start, count } = self.words {
            // SAFETY: our own mapping, which nothing borrows any more.
            unsafe { libc::munmap(start.as_ptr().cast(), count * size_of::<u64>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use dispatcher_common::admission::SourceRate;

    use super::*;

    #[test]
    fn entries_are_runs_of_words() {
        let words = MappedWords::in_memory(6);
        words.write(3, 7);
        words.add(3, 5_u64.wrapping_neg());
        words.add(5, 9);
        assert_eq!(words.read::<3>(1), [2, 0, 9]);
        assert_eq!(words.read::<3>(0), [0; 3]);
        words.copy_from(1, &[SourceRate { next_ns: 4 }, SourceRate { next_ns: 5 }]);
        assert_eq!(words.read::<3>(0), [0, 4, 5]);
    }

    #[test]
    fn a_descriptor_that_is_no_map_is_refused() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(MappedWords::map(std::os::fd::AsFd::as_fd(&reader), 1).is_err());
    }
}

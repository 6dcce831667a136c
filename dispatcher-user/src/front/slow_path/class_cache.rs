//! Filling the class cache: what the slow path has found out of a request goes into the map by which the kernel's program
//! dispatches the next one of its kind. A request that came only once does not, or all that are never asked for again would
//! drive out those that are.

use std::{io, sync::Arc};

use dispatcher_common::{class_cache::CachedClass, head_scan, siphash::SipKey};

use crate::front::{ClassCacheTable, dispatch::Known};

/// The map as the slow path needs it.
pub(super) trait Entries: Send + Sync {
    /// Returns how many could not be written.
    fn insert(&self, keys: &[u64], classes: &[CachedClass]) -> usize;

    /// Leaves the order in which entries are driven out as it is.
    fn find(&self, key: u64) -> io::Result<Option<CachedClass>>;
}

impl Entries for ClassCacheTable {
    fn insert(&self, keys: &[u64], classes: &[CachedClass]) -> usize {
        self.update_batch(keys, classes)
    }

    fn find(&self, key: u64) -> io::Result<Option<CachedClass>> {
        self.lookup(&key)
    }
}

/// The class cache, with what the kernel's program goes by.
#[derive(Clone)]
pub struct ClassCache {
    entries: Arc<dyn Entries>,
    key: SipKey,
    generation: u32,
}

impl std::fmt::Debug for ClassCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClassCache").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl ClassCache {
    /// A class cache in a map, whose keys are made with `key`.
    #[must_use]
    pub fn new(table: ClassCacheTable, (key, generation): (SipKey, u32)) -> Self {
        Self::of(Arc::new(table), key, generation)
    }

    pub(super) fn of(entries: Arc<dyn Entries>, key: SipKey, generation: u32) -> Self {
        Self { entries, key, generation }
    }

    /// What the program would find for a request that begins with these bytes.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn look_up(&self, owner: u8, bytes: &[u8], head_limit: usize) -> io::Result<Lookup> {
        let Some(key) = head_scan::key_of(&self.key, owner, bytes, head_limit) else {
            return Ok(Lookup::Unusual);
        };
        let found = self.entries.find(key)?.filter(|found| found.generation == self.generation);
        Ok(if found.is_some() { Lookup::Known } else { Lookup::Unknown })
    }
}

/// What the program finds for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Known,
    Unknown,
    /// It does not look: the head is not one that it reads.
    Unusual,
}

/// What one queue has found out in a batch.
#[derive(Debug, Default)]
pub(super) struct Found {
    lately: Lately,
    keys: Vec<u64>,
    classes: Vec<CachedClass>,
}

/// Entries written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl Found {
    /// Notes a request that begins with these bytes.
    pub(super) fn note(
        &mut self,
        cache: &ClassCache,
        bytes: &[u8],
        head_limit: usize,
        known: &Known,
        now_ns: u64,
    ) {
        let Some(key) = head_scan::key_of(&cache.key, known.owner, bytes, head_limit) else { return };
        if self.lately.is_due(key, (now_ns / NS_A_SECOND) as u32) {
            let Known { target, class, .. } = *known;
            self.keys.push(key);
            self.classes.push(CachedClass { target, generation: cache.generation, class, reserved: 0 });
        }
    }

    /// Writes what was noted.
    pub(super) fn write(&mut self, cache: &ClassCache) -> Written {
        if self.keys.is_empty() {
            return Written::default();
        }
        let failed = cache.entries.insert(&self.keys, &self.classes);
        let done = self.keys.len().saturating_sub(failed);
        self.keys.clear();
        self.classes.clear();
        Written { done: done as u64, failed: failed as u64 }
    }
}

const NS_A_SECOND: u64 = 1_000_000_000;

/// Keys that are remembered: 128 KiB. One is forgotten when another one comes in its place.
const PLACES: usize = 1 << 14;

/// Keys that came lately.
struct Lately(Box<[Place]>);

impl std::fmt::Debug for Lately {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lately(..)")
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// Of the key, what does not tell its place.
    fingerprint: u32,
    /// When it was last written, in seconds and plus one; 0 if it was not.
    written: u32,
}

impl Default for Lately {
    fn default() -> Self {
        Self(vec![Place::default(); PLACES].into())
    }
}

impl Lately {
    /// Whether a key is to be written: it came before. One that comes again although it was written is written once a second: it
    /// was driven out, or may not be used at the moment.
    fn is_due(&mut self, key: u64, now_s: u32) -> bool {
        let place = &mut self.0[key as usize % PLACES];
        let (fingerprint, now) = ((key >> 32) as u32, now_s.wrapping_add(1));
        if place.fingerprint != fingerprint {
            *place = Place { fingerprint, written: 0 };
            return false;
        }
        let is_due = place.written != now;
        place.written = now;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<HashMap<u64, CachedClass>>);

    impl Entries for Memory {
        fn insert(&self, keys: &[u64], classes: &[CachedClass]) -> usize {
            self.0.lock().unwrap().extend(keys.iter().copied().zip(classes.iter().copied()));
            0
        }

        fn find(&self, key: u64) -> io::Result<Option<CachedClass>> {
            Ok(self.0.lock().unwrap().get(&key).copied())
        }
    }

    #[test]
    fn what_was_written_is_found_by_its_line_and_host_in_its_generation() {
        const LIMIT: usize = 1000;
        const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
        let key = SipKey { k0: 1, k1: 2 };
        let cache = ClassCache::of(Arc::new(Memory::default()), key, 7);
        let known = Known { owner: 3, target: 4, class: 5 };
        let look_up = |owner, bytes: &[u8]| cache.look_up(owner, bytes, LIMIT).unwrap();
        assert_eq!(look_up(3, HEAD), Lookup::Unknown);
        let mut found = Found::default();
        (0..2).for_each(|_| found.note(&cache, HEAD, LIMIT, &known, 0));
        found.write(&cache);
        assert_eq!(look_up(3, HEAD), Lookup::Known);
        assert_eq!(look_up(3, b"GET /a HTTP/1.1\r\nAccept: x\r\nHost: b\r\n\r\n"), Lookup::Known);
        assert_eq!(look_up(2, HEAD), Lookup::Unknown, "another service");
        assert_eq!(look_up(3, b"GET /a HTTP/1.1\r\nHost: c\r\n\r\n"), Lookup::Unknown);
        assert_eq!(look_up(3, b"GET /a HTTP/1.1\r\nHost: b\r\nExpect: x\r\n\r\n"), Lookup::Unusual);
        let next = ClassCache { generation: 8, ..cache.clone() };
        assert_eq!(next.look_up(3, HEAD, LIMIT).unwrap(), Lookup::Unknown);
    }

    #[test]
    fn a_key_is_due_when_it_comes_again_and_then_once_a_second() {
        let mut lately = Lately::default();
        let keys = [1 << 32, 2 << 32 | 1, 3 << 32 | 2];
        assert!(keys.iter().all(|key| !lately.is_due(*key, 7)));
        assert!(keys.iter().all(|key| lately.is_due(*key, 7)));
        assert!(keys.iter().all(|key| !lately.is_due(*key, 7)));
        assert!(keys.iter().all(|key| lately.is_due(*key, 8)));
    }

    #[test]
    fn a_key_in_the_place_of_another_is_new() {
        let mut lately = Lately::default();
        assert!(!lately.is_due(1 << 32, 0) && !lately.is_due(2 << 32, 0));
        assert!(!lately.is_due(1 << 32, 0), "forgotten meanwhile");
        assert!(lately.is_due(1 << 32, 0));
    }
}

//! Greedy-Dual-Size (Cao and Irani, 1997): content goes in order of what a miss costs for each unit of its size, aged by
//! what has gone before. LARD's authors simulate with it.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

/// Fractional bits of worth.
const FRACTION: u32 = 16;

/// One server's memory.
#[derive(Debug, Clone)]
pub struct GreedyDualSize {
    capacity: u64,
    used: u64,
    /// Worth of what went last: it ages all that is there.
    inflation: u64,
    by_worth: BTreeSet<(u64, u64)>,
    contents: FxHashMap<u64, Content>,
}

#[derive(Debug, Clone, Copy)]
struct Content {
    worth: u64,
    size: u64,
}

impl GreedyDualSize {
    /// An empty memory with room for `capacity`.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let (by_worth, contents) = (BTreeSet::new(), FxHashMap::default());
        Self { capacity, used: 0, inflation: 0, by_worth, contents }
    }

    /// Whether the content is there. Afterwards it is, unless it is larger than the memory.
    pub fn fetch(&mut self, context: u64, size: u64, miss_us: u32) -> bool {
        let worth = self.inflation + (u64::from(miss_us) << FRACTION) / size.max(1);
        if let Some(content) = self.contents.get_mut(&context) {
            self.by_worth.remove(&(content.worth, context));
            content.worth = worth;
            self.by_worth.insert((worth, context));
            return true;
        }
        if size <= self.capacity {
            self.make_room(size);
            // What went may have been worth more than what went before: this content ages from there.
            let worth = self.inflation + (u64::from(miss_us) << FRACTION) / size.max(1);
            self.used += size;
            self.by_worth.insert((worth, context));
            self.contents.insert(context, Content { worth, size });
        }
        false
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    fn make_room(&mut self, size: u64) {
        while self.used + size > self.capacity {
            let Some((worth, context)) = self.by_worth.pop_first() else { return };
            self.inflation = worth;
            self.used -= self.contents.remove(&context).map_or(0, |content| content.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_content_goes_before_small() {
        let mut cache = GreedyDualSize::new(10);
        cache.fetch(1, 1, 1000);
        cache.fetch(2, 8, 1000);
        assert!(!cache.fetch(3, 5, 1000));
        assert!(cache.fetch(1, 1, 1000));
        assert!(!cache.fetch(2, 8, 1000));
    }

    #[test]
    fn content_that_nobody_uses_ages() {
        let mut cache = GreedyDualSize::new(2);
        cache.fetch(1, 1, 3000);
        let hits = (2..9).filter(|&context| cache.fetch(context, 1, 1000)).count();
        assert_eq!(hits, 0);
        assert!(!cache.fetch(1, 1, 3000));
    }
}

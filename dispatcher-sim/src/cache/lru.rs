//! Least recently used content goes first: the paper's memory. Owns the room; the order of use is
//! `recency`'s.

use super::recency::Recency;

/// One server's memory.
#[derive(Debug, Clone)]
pub struct Lru {
    capacity: u64,
    used: u64,
    sizes: Recency<u64>,
}

impl Lru {
    /// An empty memory with room for `capacity`.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { capacity, used: 0, sizes: Recency::new() }
    }

    /// Whether the content is there. Afterwards it is, unless it is larger than the memory.
    pub fn fetch(&mut self, context: u64, size: u64) -> bool {
        if self.sizes.touch(context).is_some() {
            return true;
        }
        if size <= self.capacity {
            while self.used + size > self.capacity {
                self.used -= self.sizes.pop_oldest().unwrap_or(self.used);
            }
            self.used += size;
            self.sizes.insert(context, size);
        }
        false
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let mut cache = Lru::new(2);
        let hits = [1, 2, 1, 3, 1, 2, 3, 1].map(|context| cache.fetch(context, 1));
        assert_eq!(hits, [false, false, true, false, true, false, false, false]);
    }

    #[test]
    fn large_content_takes_the_room_of_several_and_too_large_none() {
        let mut cache = Lru::new(10);
        for context in 0..10 {
            cache.fetch(context, 1);
        }
        assert!(!cache.fetch(100, 8));
        assert!(!cache.fetch(200, 11));
        assert!(cache.fetch(100, 8) && cache.fetch(8, 1) && cache.fetch(9, 1));
        assert!(!cache.fetch(7, 1));
        cache.clear();
        assert!(!cache.fetch(100, 8));
    }
}

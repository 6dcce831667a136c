//! What a policy remembers of targets, at most so many: the target that was asked for least recently makes room for
//! a new one, as it would in a server's cache. Owns the order of use; what is remembered is the policy's.

use std::collections::HashMap;

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Entry<V> {
    target: u64,
    value: V,
    newer: u32,
    older: u32,
}

/// Target → `V`, of limited size. Its hasher is seeded at random, because clients choose targets; nothing depends on
/// the order of the map.
#[derive(Debug, Clone)]
pub(super) struct TargetTable<V> {
    places: HashMap<u64, u32>,
    entries: Vec<Entry<V>>,
    newest: u32,
    oldest: u32,
    max_targets: usize,
}

impl<V> TargetTable<V> {
    /// Room for `max_targets`, at least one; memory is taken as they come.
    pub(super) fn new(max_targets: u32) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            max_targets: max_targets.max(1) as usize,
        }
    }

    /// What is remembered of `target`, which counts as used now.
    pub(super) fn get_mut(&mut self, target: u64) -> Option<&mut V> {
        let place = *self.places.get(&target)?;
        if place != self.newest {
            self.unlink(place);
            self.link_as_newest(place);
        }
        Some(&mut self.entries[place as usize].value)
    }

    /// Remembers `value` of `target` and gives what had to go: the value before, or that of the target used least
    /// recently.
    pub(super) fn set(&mut self, target: u64, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(target) {
            return Some(std::mem::replace(known, value));
        }
        if self.entries.len() < self.max_targets {
            let place = self.entries.len() as u32;
            self.entries.push(Entry { target, value, newer: NONE, older: NONE });
            self.places.insert(target, place);
            self.link_as_newest(place);
            return None;
        }
        let place = self.oldest;
        self.unlink(place);
        let entry = &mut self.entries[place as usize];
        self.places.remove(&std::mem::replace(&mut entry.target, target));
        let gone = std::mem::replace(&mut entry.value, value);
        self.places.insert(target, place);
        self.link_as_newest(place);
        Some(gone)
    }

    fn unlink(&mut self, place: u32) {
        let Entry { newer, older, .. } = self.entries[place as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_as_newest(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
        let entry = &mut self.entries[place as usize];
        (entry.newer, entry.older) = (NONE, older);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_target_used_least_recently_makes_room() {
        let mut table = TargetTable::new(2);
        assert_eq!((table.set(1, 'a'), table.set(2, 'b')), (None, None));
        assert_eq!(table.get_mut(1), Some(&mut 'a'));
        assert_eq!(table.set(3, 'c'), Some('b'));
        assert_eq!(table.get_mut(2), None);
        assert_eq!(table.set(1, 'd'), Some('a'));
        assert_eq!((table.set(4, 'e'), table.set(5, 'f')), (Some('c'), Some('d')));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(
            max_targets in 0_u32..5, steps in prop::collection::vec((any::<bool>(), 0_u64..8), 0..60),
        ) {
            let mut table = TargetTable::new(max_targets);
            let mut list: Vec<(u64, usize)> = Vec::new();
            for (step, (set, target)) in steps.into_iter().enumerate() {
                let known = list.iter().position(|entry| entry.0 == target).map(|at| list.remove(at));
                if set {
                    let full = known.is_none() && list.len() == max_targets.max(1) as usize;
                    let gone = if full { Some(list.remove(0)) } else { known };
                    list.push((target, step));
                    prop_assert_eq!(table.set(target, step), gone.map(|entry| entry.1));
                } else {
                    list.extend(known);
                    prop_assert_eq!(table.get_mut(target).copied(), known.map(|entry| entry.1));
                }
            }
        }
    }
}

//! Contents in order of their last use: a list in a vector, and an index. Owns the order; room is its users' business.
//! Shared by the least recently used memories of one server and of all.

use rustc_hash::FxHashMap;

/// No neighbour.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    context: u64,
    value: T,
    newer: u32,
    older: u32,
}

/// Values by content, from the most to the least recently used.
#[derive(Debug, Clone)]
pub(super) struct Recency<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    index: FxHashMap<u64, u32>,
    newest: u32,
    oldest: u32,
}

impl<T: Copy> Recency<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: FxHashMap::default(), newest: NONE, oldest: NONE }
    }

    /// Uses a content, if it is there, and gives its value.
    pub(super) fn touch(&mut self, context: u64) -> Option<&mut T> {
        let place = *self.index.get(&context)?;
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
        Some(&mut self.slots[place as usize].value)
    }

    /// Adds a content that is not there.
    pub(super) fn insert(&mut self, context: u64, value: T) {
        let slot = Slot { context, value, newer: NONE, older: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.link(place);
        self.index.insert(context, place);
    }

    /// Removes the content that was not used for longest.
    pub(super) fn pop_oldest(&mut self) -> Option<T> {
        if self.oldest == NONE {
            return None;
        }
        let place = self.oldest;
        self.unlink(place);
        self.free.push(place);
        let Slot { context, value, .. } = self.slots[place as usize];
        self.index.remove(&context);
        Some(value)
    }

    /// Removes what `goes` names.
    pub(super) fn remove_where(&mut self, goes: impl Fn(&T) -> bool, mut removed: impl FnMut(T)) {
        let mut place = self.oldest;
        while place != NONE {
            let Slot { context, value, newer, .. } = self.slots[place as usize];
            if goes(&value) {
                self.unlink(place);
                self.free.push(place);
                self.index.remove(&context);
                removed(value);
            }
            place = newer;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match newer {
            NONE => self.newest = older,
            _ => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.slots[older as usize].newer = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let second = std::mem::replace(&mut self.newest, place);
        let slot = &mut self.slots[place as usize];
        (slot.newer, slot.older) = (NONE, second);
        match second {
            NONE => self.oldest = place,
            _ => self.slots[second as usize].newer = place,
        }
    }
}

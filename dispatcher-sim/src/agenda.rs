//! What will happen when: the simulation's event queue. Events of one moment come in the order in which they were noted.
//! Owns the clock; what an event does is the engine's business.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client without a connection, or on its connection, asks for something.
    Ask { connection: u32 },
    /// A new client comes, and with it the next one is due (open loop).
    Arrive,
    /// A connection that was kept open idly is closed.
    Close { connection: u32 },
    /// A server has finished the request that it was at, if it still lives that life.
    Finish { server: u16, life: u32 },
    /// A server sends a report.
    Report { server: u16 },
    /// The oldest report under way arrives.
    Deliver,
    /// The front-end looks for silent servers.
    Tick,
    /// A server fails.
    Fail { server: u16 },
    /// A server returns.
    Return { server: u16 },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at_us: u64,
    order: u64,
    event: Event,
}

impl Ord for Entry {
    /// The earliest is the greatest, because the heap gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.order).cmp(&(self.at_us, self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The event queue, with the clock.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    entries: BinaryHeap<Entry>,
    /// What comes again and again after the same time, and so stays in order without sorting.
    regular: VecDeque<Entry>,
    noted: u64,
    now_us: u64,
}

impl Agenda {
    /// The moment of the last event taken, in µs since the beginning.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Notes an event for `after_us` from now.
    pub fn after(&mut self, after_us: u64, event: Event) {
        self.at(self.now_us.saturating_add(after_us), event);
    }

    /// Notes an event for a moment; one in the past happens now.
    pub fn at(&mut self, at_us: u64, event: Event) {
        let entry = self.entry(at_us, event);
        self.entries.push(entry);
    }

    /// Notes an event for `after_us` from now. All regular events must be noted in the order in which they come.
    pub fn regularly(&mut self, after_us: u64, event: Event) {
        let entry = self.entry(self.now_us.saturating_add(after_us), event);
        debug_assert!(self.regular.back().is_none_or(|last| last > &entry), "regular events stay in order");
        self.regular.push_back(entry);
    }

    /// Moves the clock to the next event and gives it.
    pub fn take_next(&mut self) -> Option<Event> {
        let entry = if self.regular_is_next() { self.regular.pop_front() } else { self.entries.pop() }?;
        self.now_us = entry.at_us;
        Some(entry.event)
    }

    /// As [`take_next`](Self::take_next), but no event after `until_us`; then the clock moves there.
    pub fn take_until(&mut self, until_us: u64) -> Option<Event> {
        let next = if self.regular_is_next() { self.regular.front() } else { self.entries.peek() };
        if next.is_some_and(|entry| entry.at_us <= until_us) {
            return self.take_next();
        }
        self.now_us = self.now_us.max(until_us);
        None
    }

    fn entry(&mut self, at_us: u64, event: Event) -> Entry {
        self.noted += 1;
        Entry { at_us: at_us.max(self.now_us), order: self.noted, event }
    }

    fn regular_is_next(&self) -> bool {
        match (self.regular.front(), self.entries.peek()) {
            (Some(regular), Some(other)) => regular > other,
            (regular, _) => regular.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_noting() {
        let mut agenda = Agenda::default();
        agenda.at(5, Event::Tick);
        agenda.at(3, Event::Arrive);
        agenda.regularly(5, Event::Deliver);
        assert_eq!(agenda.take_until(2), None);
        assert_eq!(agenda.now_us(), 2);
        let order = [agenda.take_next(), agenda.take_next(), agenda.take_next(), agenda.take_next()];
        assert_eq!(order, [Some(Event::Arrive), Some(Event::Tick), Some(Event::Deliver), None]);
        assert_eq!(agenda.now_us(), 5);
    }
}

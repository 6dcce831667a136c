//! Flows that are ready to give way, by adjusted priority. Owns their bounded lists and the check that a flow is still as it was
//! when it was listed; passing over the filter-table, and ending flows, is the caller's.

use std::collections::BinaryHeap;

use dispatcher_common::{
    admission::NONE_READY,
    filter::{Filter, FlowKey, state},
    limits::PRIORITIES,
};

use super::{
    AdjustSettings, EvictionSettings, FlowView, Pressure, adjusted,
    ranking::{Rank, rank},
};
use crate::ids::Priority;

/// Most flows that are kept ready for each priority: more than can be evicted from one pass to the next, in 10 MB at most.
pub const READY_PER_PRIORITY: usize = 16_384;

/// A flow that is ready to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victim {
    /// Which.
    pub key: FlowKey,
    /// The filter's `created_ns`.
    pub created_ns: u64,
    /// The filter's `packets`.
    pub packets: u64,
    /// The priority it was admitted with.
    pub priority: Priority,
    /// Its priority when it was listed.
    pub adjusted: Priority,
    /// It had no response to its latest request.
    pub was_waiting: bool,
}

impl Victim {
    /// Whether the flow is still as it was when it was listed; otherwise it is spared.
    #[must_use]
    pub fn is_unchanged(&self, filter: &Filter) -> bool {
        let is_waiting = filter.response_ns == 0;
        filter.state == state::ESTABLISHED
            && filter.created_ns == self.created_ns
            && filter.packets == self.packets
            && is_waiting == self.was_waiting
    }
}

/// Makes lists from one pass over the flows of a service.
#[derive(Debug)]
pub struct VictimCollector {
    eviction: EvictionSettings,
    adjusting: AdjustSettings,
    pressure: Pressure,
    /// For each adjusted priority those that go first; the last of them on top.
    lists: [BinaryHeap<Listed>; PRIORITIES],
    capacity: usize,
}

/// Ordered by rank; among equals by key, so that the order of the pass does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    rank: Rank,
    victim: Victim,
}

impl Listed {
    fn order(&self) -> (Rank, [u64; 2], u16, u16) {
        let key = &self.victim.key;
        (self.rank, key.client.halves(), key.client_port_be(), key.service())
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl VictimCollector {
    /// `pressure` is that of the service now.
    #[must_use]
    pub fn new(eviction: &EvictionSettings, adjusting: &AdjustSettings, pressure: Pressure) -> Self {
        let (eviction, adjusting) = (*eviction, *adjusting);
        Self { eviction, adjusting, pressure, lists: Default::default(), capacity: READY_PER_PRIORITY }
    }

    /// Takes up a flow if it may be evicted, and is among those of its priority that go first.
    pub fn offer(&mut self, key: FlowKey, filter: &Filter, now_ns: u64) {
        let Some(flow) = FlowView::of(filter, now_ns) else { return };
        let Some(rank) = rank(&flow, &self.eviction) else { return };
        let adjusted = adjusted(&flow, &self.adjusting, self.pressure);
        let victim = Victim {
            key,
            created_ns: filter.created_ns,
            packets: filter.packets,
            priority: flow.priority,
            adjusted,
            was_waiting: flow.waiting.is_some(),
        };
        let (listed, list) = (Listed { rank, victim }, &mut self.lists[usize::from(adjusted.get())]);
        if list.len() < self.capacity {
            list.push(listed);
        } else if let Some(mut last) = list.peek_mut()
            && listed < *last
        {
            *last = listed;
        }
    }

    /// The lists.
    #[must_use]
    pub fn finish(self) -> Victims {
        let lists = self.lists.map(|list| {
            let mut victims: Vec<_> =
                list.into_sorted_vec().into_iter().map(|listed| listed.victim).collect();
            victims.reverse();
            victims
        });
        Victims { lists }
    }
}

/// Flows that are ready to give way.
#[derive(Debug, Clone, Default)]
pub struct Victims {
    /// By adjusted priority; the next to go is the last.
    lists: [Vec<Victim>; PRIORITIES],
}

impl Victims {
    /// The next to give way to a newcomer of priority `below`. It is off the list: if it has changed meanwhile, ask again.
    pub fn take(&mut self, below: Priority) -> Option<Victim> {
        self.lists[..usize::from(below.get())].iter_mut().find_map(Vec::pop)
    }

    /// Lowest adjusted priority of a ready flow, as [`AdmissionEntry::lowest_ready`] wants it: [`NONE_READY`] if there is none.
    ///
    /// [`AdmissionEntry::lowest_ready`]: dispatcher_common::admission::AdmissionEntry::lowest_ready
    #[must_use]
    pub fn lowest_ready(&self) -> u8 {
        self.lists.iter().position(|list| !list.is_empty()).map_or(NONE_READY, |level| level as u8)
    }

    /// How many are ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

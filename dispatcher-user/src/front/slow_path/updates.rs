//! Filters that a batch of frames changes, written in one go after the frames are sent.

use dispatcher_common::filter::{Filter, FlowKey};

use super::engine::Filters;

/// Filters to write; of several for a flow the last counts.
#[derive(Debug, Default)]
pub(super) struct Updates {
    keys: Vec<FlowKey>,
    filters: Vec<Filter>,
}

impl Updates {
    pub(super) fn push(&mut self, key: FlowKey, filter: Filter) {
        self.keys.push(key);
        self.filters.push(filter);
    }

    /// A batch is short and few of its frames ask, so this looks at all of them.
    pub(super) fn find(&self, key: &FlowKey) -> Option<Filter> {
        let at = self.keys.iter().rposition(|other| other == key)?;
        Some(self.filters[at])
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&FlowKey, &mut Filter)> {
        self.keys.iter().zip(&mut self.filters)
    }

    pub(super) fn remove(&mut self, key: &FlowKey) {
        while let Some(at) = self.keys.iter().rposition(|other| other == key) {
            self.keys.remove(at);
            self.filters.remove(at);
        }
    }

    /// Writes them all. Returns how many could not be written.
    pub(super) fn write(&mut self, filters: &dyn Filters) -> usize {
        if self.keys.is_empty() {
            return 0;
        }
        let failed = filters.update_batch(&self.keys, &self.filters);
        self.keys.clear();
        self.filters.clear();
        failed
    }
}

//! What a pass over the filter-table finds out beside the filters that must go: how many flows are really open, which corrects
//! the running counts, and which flows may give way.

use std::{collections::HashMap, sync::Arc};

use dispatcher_common::{
    admission::SourceKey,
    filter::{Filter, FlowKey, state},
    limits::PRIORITIES,
};
use dispatcher_core::admission::{Pressure, VictimCollector};

use super::model::Model;
use crate::kernel::table::Table;

/// The SOURCE_OPEN map.
pub type SourceOpen = Table<SourceKey, u64>;

/// Counts of one service by priority.
type Counts = [i64; PRIORITIES];

/// What the passes have found.
#[derive(Debug)]
pub struct Census {
    model: Arc<Model>,
    source_open: SourceOpen,
    services: Vec<Service>,
    sources: HashMap<SourceKey, u64>,
    /// Sources of the pass before that had open flows.
    known_sources: HashMap<SourceKey, u64>,
}

#[derive(Debug, Default)]
struct Service {
    open: Counts,
    drift: Counts,
    victims: Option<VictimCollector>,
}

impl Census {
    #[must_use]
    pub fn new(model: Arc<Model>, source_open: SourceOpen) -> Self {
        let services = model.services().iter().map(|_| Service::default()).collect();
        Self { model, source_open, services, sources: HashMap::new(), known_sources: HashMap::new() }
    }

    /// Begins a pass.
    pub fn begin(&mut self) {
        for (owner, service) in self.services.iter_mut().enumerate() {
            let settings = self.model.admission().settings(owner);
            let overloaded = self.model.admission().entry(owner).is_overloaded();
            let pressure = Pressure { overloaded, ..Pressure::default() };
            service.open = Counts::default();
            service.victims = settings
                .map(|settings| VictimCollector::new(&settings.eviction, &settings.adjusting, pressure));
        }
        self.known_sources = std::mem::take(&mut self.sources);
    }

    /// Counts some filters.
    pub fn count(&mut self, found: &[(FlowKey, Filter)], now_ns: u64) {
        for (key, filter) in found.iter().filter(|(_, filter)| filter.state == state::ESTABLISHED) {
            let Some(owner) = self.model.owner(key.service()) else { continue };
            let service = &mut self.services[owner];
            service.open[usize::from(filter.priority) % PRIORITIES] += 1;
            if let Some(victims) = &mut service.victims {
                victims.offer(*key, filter, now_ns);
            }
            let limits_open = self
                .model
                .admission()
                .settings(owner)
                .is_some_and(|settings| settings.sources.open_connections > 0);
            if limits_open {
                let source = self.model.admission().entry(owner).source(&key.client, owner as u8);
                *self.sources.entry(source).or_default() += 1;
            }
        }
    }

    /// Ends a pass.
    pub fn finish(&mut self) {
        for (owner, service) in self.services.iter_mut().enumerate() {
            if let Some(victims) = service.victims.take() {
                self.model.admission().set_victims(owner, victims.finish());
            }
            let running = self.model.admission().entry(owner).open;
            for (priority, correction) in service.corrections(&running).into_iter().enumerate() {
                if correction != 0 {
                    tracing::debug!("open flows of priority {priority} are {correction} more than counted");
                    self.model.admission().ledger().add(owner, priority as u8, correction);
                }
            }
        }
        self.write_sources();
    }

    fn write_sources(&self) {
        for (source, open) in &self.sources {
            if let Err(error) = self.source_open.update(source, open) {
                tracing::debug!("cannot write the open flows of a source: {error}");
            }
        }
        for source in self.known_sources.keys().filter(|source| !self.sources.contains_key(*source)) {
            if let Err(error) = self.source_open.delete(source) {
                tracing::debug!("cannot forget a source: {error}");
            }
        }
    }
}

impl Service {
    /// What to add to the running counts: the part of a deviation that was there in the pass before, too. A flow that came or
    /// went during the pass deviates once.
    fn corrections(&mut self, running: &[u64; PRIORITIES]) -> Counts {
        let mut corrections = Counts::default();
        for (at, correction) in corrections.iter_mut().enumerate() {
            let (before, now) = (self.drift[at], self.open[at] - running[at].cast_signed());
            *correction = match (before, now) {
                (1.., 1..) => before.min(now),
                (..=-1, ..=-1) => before.max(now),
                _ => 0,
            };
            self.drift[at] = now - *correction;
        }
        corrections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrected(service: &mut Service, open: i64, running: &mut u64) -> i64 {
        service.open[3] = open;
        let mut counts = [0; PRIORITIES];
        counts[3] = *running;
        let correction = service.corrections(&counts)[3];
        *running = running.wrapping_add_signed(correction);
        correction
    }

    #[test]
    fn only_a_deviation_that_stays_is_corrected() {
        let (mut service, mut running) = (Service::default(), 10);
        assert_eq!(corrected(&mut service, 12, &mut running), 0);
        assert_eq!(corrected(&mut service, 9, &mut running), 0, "it was the moment");
        assert_eq!(corrected(&mut service, 7, &mut running), -1, "one was too many twice");
        assert_eq!((running, corrected(&mut service, 9, &mut running)), (9, 0));
    }

    #[test]
    fn a_count_below_zero_comes_back() {
        let (mut service, mut running) = (Service::default(), 2_u64.wrapping_neg());
        corrected(&mut service, 0, &mut running);
        assert_eq!(corrected(&mut service, 0, &mut running), 2);
        assert_eq!(running, 0);
        assert_eq!(corrected(&mut service, 0, &mut running), 0);
    }
}

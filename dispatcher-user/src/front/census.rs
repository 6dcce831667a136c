//! What a pass over the filter-table finds out beside the filters that must go: how many flows are really open, which corrects
//! the running counts, and which flows may give way.

use std::{collections::HashMap, io, sync::Arc};

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
    sources: HashMap<SourceKey, Source>,
}

/// A source with a limit on open flows.
#[derive(Debug, Default)]
struct Source {
    open: i64,
    drift: i64,
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
        Self { model, source_open, services, sources: HashMap::new() }
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
        self.sources.values_mut().for_each(|source| source.open = 0);
    }

    /// Counts some filters.
    pub fn count(&mut self, found: &[(FlowKey, Filter)], now_ns: u64) {
        for (key, filter) in found {
            let Some(owner) = self.model.owner(key.service()) else { continue };
            if matches!(filter.state, state::PENDING | state::ESTABLISHED) {
                self.count_for_source(owner, key);
            }
            if filter.state != state::ESTABLISHED {
                continue;
            }
            let service = &mut self.services[owner];
            service.open[usize::from(filter.priority) % PRIORITIES] += 1;
            if let Some(victims) = &mut service.victims {
                victims.offer(*key, filter, now_ns);
            }
        }
    }

    /// The kernel's program counts a source's flow from its first request on.
    fn count_for_source(&mut self, owner: usize, key: &FlowKey) {
        let admission = self.model.admission();
        if admission.settings(owner).is_some_and(|settings| settings.sources.open_connections > 0) {
            let source = admission.entry(owner).source(&key.client, owner as u8);
            self.sources.entry(source).or_default().open += 1;
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
        self.correct_sources();
    }

    /// Sources that have no flows, and of which that is known, are forgotten.
    fn correct_sources(&mut self) {
        let table = &self.source_open;
        self.sources.retain(|key, source| match correct(table, key, source) {
            Ok(running) => source.open != 0 || running != 0,
            Err(error) => {
                tracing::debug!("cannot correct the open flows of a source: {error}");
                true
            }
        });
    }
}

/// Gives the running count as it is then.
fn correct(table: &SourceOpen, key: &SourceKey, source: &mut Source) -> io::Result<i64> {
    let running = table.lookup(key)?.unwrap_or(0).cast_signed();
    let deviation = source.open - running;
    let correction = lasting(source.drift, deviation);
    source.drift = deviation - correction;
    if correction != 0 {
        table.update(key, &(running + correction).cast_unsigned())?;
    }
    Ok(running + correction)
}

/// The part of a deviation that was there in the pass before, too. A flow that came or went during the pass deviates once.
fn lasting(before: i64, now: i64) -> i64 {
    match (before, now) {
        (1.., 1..) => before.min(now),
        (..=-1, ..=-1) => before.max(now),
        _ => 0,
    }
}

impl Service {
    /// What to add to the running counts.
    fn corrections(&mut self, running: &[u64; PRIORITIES]) -> Counts {
        std::array::from_fn(|at| {
            let deviation = self.open[at] - running[at].cast_signed();
            let correction = lasting(self.drift[at], deviation);
            self.drift[at] = deviation - correction;
            correction
        })
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

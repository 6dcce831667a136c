//! Looks at the load of each service many times a second, so that the data plane knows of overload, and of its end, without a
//! request that would tell.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{admission::causes, model::Model, service_table::ServiceTable};

/// Time between two looks: a fraction of what a report takes to come.
const PERIOD: Duration = Duration::from_millis(20);

/// The keeper of the gates.
#[derive(Debug)]
pub struct Gates {
    model: Arc<Model>,
    table: Arc<ServiceTable>,
    overloaded: Vec<bool>,
}

impl Gates {
    #[must_use]
    pub fn new(model: Arc<Model>, table: Arc<ServiceTable>) -> Self {
        let overloaded = vec![false; model.services().len()];
        Self { model, table, overloaded }
    }

    /// Keeps them for ever.
    pub async fn keep(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for owner in 0..self.overloaded.len() {
                self.look(owner);
            }
        }
    }

    fn look(&mut self, owner: usize) {
        if self.model.admission().settings(owner).is_none() {
            return;
        }
        let pressure = self.model.observe(owner);
        if let Err(error) = self.table.set_gate(owner, self.model.admission().gate(owner)) {
            tracing::warn!("cannot set the gate of a service: {error}");
        }
        let before = std::mem::replace(&mut self.overloaded[owner], pressure.overloaded);
        if before != pressure.overloaded {
            let name = &self.model.services()[owner].config.name;
            if pressure.overloaded {
                tracing::info!("{name} is overloaded ({}): only higher priorities get in", causes(pressure));
            } else {
                tracing::info!("{name} is not overloaded any more");
            }
        }
    }
}

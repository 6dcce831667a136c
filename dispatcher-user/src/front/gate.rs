//! Looks at the load of each service many times a second, so that the data plane knows of overload, and of its end, without a
//! request that would tell; and shares with the kernel's program what it chooses by and has chosen.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dispatcher_core::admission::Pressure;
use tokio::time::{MissedTickBehavior, interval};

use super::{admission::causes, model::Model, service_table::ServiceTable};

/// Time between two looks: requests on kept connections that come meanwhile are let in by what the last look has seen.
const PERIOD: Duration = Duration::from_millis(5);

/// Shortest time between two messages about one service: at the edge of its bound a service may come and go many times.
const QUIET: Duration = Duration::from_secs(10);

/// The keeper of the gates.
#[derive(Debug)]
pub struct Gates {
    model: Arc<Model>,
    table: Arc<ServiceTable>,
    services: Vec<Said>,
}

/// What was said of a service.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    overloaded: bool,
    at: Option<Instant>,
}

impl Gates {
    #[must_use]
    pub fn new(model: Arc<Model>, table: Arc<ServiceTable>) -> Self {
        let services = vec![Said::default(); model.services().len()];
        Self { model, table, services }
    }

    /// Keeps them for ever.
    pub async fn keep(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.model.share();
            for owner in 0..self.services.len() {
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
        self.say(owner, pressure);
    }

    fn say(&mut self, owner: usize, pressure: Pressure) {
        let said = &mut self.services[owner];
        let lately = said.at.is_some_and(|at| at.elapsed() < QUIET);
        if said.overloaded == pressure.overloaded || lately {
            return;
        }
        *said = Said { overloaded: pressure.overloaded, at: Some(Instant::now()) };
        let name = &self.model.services()[owner].config.name;
        if pressure.overloaded {
            tracing::info!("{name} is overloaded ({}): only higher priorities get in", causes(pressure));
        } else {
            tracing::info!("{name} is not overloaded any more");
        }
    }
}

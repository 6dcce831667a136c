//! What clients ask for, and when: the same for all subjects of a round.

use std::time::Duration;

use dispatcher_sim::{
    popularity::Popularity,
    random::{self, Stream},
    settings::{PopularityKind, Settings, WorkloadSettings},
};
use rand_pcg::Pcg64;
use tests::load::Demand;

/// Objects of the site.
pub(crate) const OBJECTS: u32 = 2000;

/// Of Zipf's law, as in the simulator.
pub(crate) const EXPONENT: f64 = 0.8;

/// Draws objects.
pub(crate) struct Workload {
    popularity: Popularity,
    objects: Pcg64,
    times: Pcg64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        let workload = WorkloadSettings {
            contexts: OBJECTS,
            popularity: PopularityKind::Zipf,
            exponent: EXPONENT,
            ..Settings::default().workload
        };
        Self {
            popularity: Popularity::new(&workload),
            objects: random::stream(seed, Stream::Contexts),
            times: random::stream(seed, Stream::Arrivals),
        }
    }

    pub(crate) fn objects(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.popularity.draw(0, &mut self.objects)).collect()
    }

    /// A Poisson process of so many requests a second.
    pub(crate) fn demands(&mut self, rate: f64, time: Duration) -> Vec<Demand> {
        let mut due = Duration::ZERO;
        let mut demands = Vec::new();
        loop {
            due += Duration::from_micros(random::exponential_us(&mut self.times, 1e6 / rate));
            if due >= time {
                return demands;
            }
            demands.push(Demand { object: self.popularity.draw(0, &mut self.objects), due });
        }
    }
}

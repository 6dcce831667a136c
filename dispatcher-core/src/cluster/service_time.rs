//! Expected service times: by server and class where a report gave one, else by the best mean there is. Owns the
//! means; µs throughout, as in reports.

use crate::ids::{ClassId, ServerId};

/// Taken while nothing at all is known, in µs.
const DEFAULT_SERVICE_US: u32 = 1000;

/// Weight of one dispatch in the mean over the request mix is 1/2^8: about the last 250 requests count.
const MIX_SHIFT: u32 = 8;

/// Fractional bits of that mean.
const MIX_FRACTION: u32 = 16;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    total_us: u64,
    count: u64,
}

impl Sum {
    fn replace(&mut self, old: u32, new: u32) {
        self.total_us = self.total_us + u64::from(new) - u64::from(old);
        self.count = self.count + u64::from(new > 0) - u64::from(old > 0);
    }

    fn mean(self) -> Option<u32> {
        self.total_us.checked_div(self.count).map(|mean| mean as u32)
    }
}

/// The service times of a cluster; 0 stands for "not known".
#[derive(Debug, Clone)]
pub(super) struct ServiceTimes {
    class_count: usize,
    by_server: Vec<u32>,
    by_class: Vec<Sum>,
    all: Sum,
    mix: Option<u64>,
}

impl ServiceTimes {
    pub(super) fn new(server_count: usize, class_count: usize) -> Self {
        Self {
            class_count,
            by_server: vec![0; server_count * class_count],
            by_class: vec![Sum::default(); class_count],
            all: Sum::default(),
            mix: None,
        }
    }

    /// What `server` itself measured for `class`.
    pub(super) fn measured(&self, server: ServerId, class: ClassId) -> Option<u32> {
        self.by_server.get(self.place(server, class)?).copied().filter(|&us| us > 0)
    }

    /// Takes a measurement; 0 leaves the one before in force.
    pub(super) fn set(&mut self, server: ServerId, class: ClassId, service_us: u32) {
        if let Some(place) = self.place(server, class).filter(|_| service_us > 0) {
            let old = std::mem::replace(&mut self.by_server[place], service_us);
            self.by_class[class.index()].replace(old, service_us);
            self.all.replace(old, service_us);
        }
    }

    /// Forgets what a server measured before it booted.
    pub(super) fn forget(&mut self, server: ServerId) {
        for class in 0..self.class_count {
            let place = server.index() * self.class_count + class;
            let old = std::mem::replace(&mut self.by_server[place], 0);
            self.by_class[class].replace(old, 0);
            self.all.replace(old, 0);
        }
    }

    /// Measured by the server, else the class's mean over the servers, else the cluster's mean, else 1 ms.
    pub(super) fn expected(&self, server: ServerId, class: ClassId) -> u32 {
        self.measured(server, class).or_else(|| self.class_mean(class)).unwrap_or_else(|| self.mean())
    }

    /// Mean of what was measured for `class`.
    pub(super) fn class_mean(&self, class: ClassId) -> Option<u32> {
        self.by_class.get(class.index()).and_then(|sum| sum.mean())
    }

    /// Lets a dispatched request of `class` count in the mean over the request mix.
    pub(super) fn count_in_mix(&mut self, class: ClassId) {
        let Some(mean) = self.class_mean(class) else { return };
        let scaled = u64::from(mean) << MIX_FRACTION;
        let old = *self.mix.get_or_insert(scaled);
        self.mix = Some(old - (old >> MIX_SHIFT) + (scaled >> MIX_SHIFT));
    }

    /// Mean service time of a request: over the recent mix of requests, else over all that was measured, else 1 ms.
    pub(super) fn mean(&self) -> u32 {
        let mix = self.mix.map(|scaled| (scaled >> MIX_FRACTION) as u32);
        mix.or_else(|| self.all.mean()).unwrap_or(DEFAULT_SERVICE_US).max(1)
    }

    fn place(&self, server: ServerId, class: ClassId) -> Option<usize> {
        (class.index() < self.class_count).then(|| server.index() * self.class_count + class.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_time_falls_back_step_by_step() {
        let mut times = ServiceTimes::new(3, 2);
        assert_eq!(times.expected(ServerId(0), ClassId(0)), DEFAULT_SERVICE_US);
        times.set(ServerId(1), ClassId(1), 500);
        assert_eq!(times.expected(ServerId(0), ClassId(0)), 500);
        times.set(ServerId(2), ClassId(0), 100);
        assert_eq!(times.expected(ServerId(0), ClassId(0)), 100);
        times.set(ServerId(0), ClassId(0), 20);
        assert_eq!(times.expected(ServerId(0), ClassId(0)), 20);
        assert_eq!(times.expected(ServerId(1), ClassId(0)), 60);
        times.forget(ServerId(0));
        assert_eq!(times.expected(ServerId(0), ClassId(0)), 100);
        assert_eq!(times.mean(), 300);
    }

    #[test]
    fn the_mean_follows_the_mix_of_requests() {
        let mut times = ServiceTimes::new(1, 2);
        times.set(ServerId(0), ClassId(0), 100);
        times.set(ServerId(0), ClassId(1), 1100);
        assert_eq!(times.mean(), 600);
        for i in 0..10_000 {
            times.count_in_mix(ClassId(u16::from(i % 10 == 0)));
        }
        assert!((150..250).contains(&times.mean()), "{}", times.mean());
    }
}

//! R, q, T and service times of this server, from the cumulative statistics that its programs keep. Pure: reading the map is
//! elsewhere.

use dispatcher_common::server::ClassStats;
use dispatcher_core::report::ClassReport;

use super::classes;

/// Weight of one answered request in its class's moving average: about the last eight count.
const WEIGHT: f64 = 1.0 / 8.0;

/// One class.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    seen: ClassStats,
    /// Moving average; `None` until a request was answered.
    service_us: Option<f64>,
    /// What the statistics hold too many (or, negative, too few): see [`Meter::set_drift`].
    drift: i64,
}

impl Class {
    fn held(&self) -> u32 {
        let held = classes::held(&self.seen) - self.drift;
        u32::try_from(held.max(0)).unwrap_or(u32::MAX)
    }

    fn take(&mut self, total: ClassStats) {
        let count = total.answered.saturating_sub(self.seen.answered);
        if count > 0 {
            let spent_ns = total.service_ns.saturating_sub(self.seen.service_ns);
            let mean_us = spent_ns as f64 / count as f64 / 1000.0;
            // As if each of them had counted by itself.
            let keep = (1.0 - WEIGHT).powi(i32::try_from(count).unwrap_or(i32::MAX));
            self.service_us = Some(self.service_us.map_or(mean_us, |old| mean_us + (old - mean_us) * keep));
        }
        self.seen = total;
    }

    fn expected_us(&self) -> Option<u32> {
        // 0 would say "not known".
        self.service_us.map(|us| us.round().clamp(1.0, f64::from(u32::MAX)) as u32)
    }
}

/// All classes.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    classes: Vec<Class>,
}

impl Meter {
    pub(super) fn new(class_count: usize) -> Self {
        Self { classes: vec![Class::default(); class_count] }
    }

    /// Takes the totals by class. The first ones may be of an agent before this one: their mean is a good beginning.
    pub(super) fn take(&mut self, totals: &[ClassStats]) {
        for (class, total) in self.classes.iter_mut().zip(totals) {
            class.take(*total);
        }
    }

    /// Sets what the statistics hold too many of each class: the programs never heard of the end of so many requests.
    pub(super) fn set_drift(&mut self, drift: &[i64]) {
        for (class, drift) in self.classes.iter_mut().zip(drift) {
            class.drift = *drift;
        }
    }

    /// R of every class, by class.
    pub(super) fn held(&self) -> impl Iterator<Item = u32> + '_ {
        self.classes.iter().map(Class::held)
    }

    /// q: requests held, all classes.
    pub(super) fn queue(&self) -> u32 {
        self.held().fold(0, u32::saturating_add)
    }

    /// T: expected service times of all requests held, in µs. A class without a measurement takes the mean of the others.
    pub(super) fn load_us(&self) -> u64 {
        let known: Vec<u32> = self.classes.iter().filter_map(Class::expected_us).collect();
        let total: u64 = known.iter().map(|us| u64::from(*us)).sum();
        let mean = total.checked_div(known.len() as u64).unwrap_or(0);
        let work = |class: &Class| u64::from(class.held()) * class.expected_us().map_or(mean, u64::from);
        self.classes.iter().map(work).sum()
    }

    /// What a report says of the classes: those that hold something or were measured.
    pub(super) fn reports(&self) -> Vec<ClassReport> {
        let report = |(class, state): (usize, &Class)| {
            let (held, service_us) = (state.held(), state.expected_us().unwrap_or(0));
            let class = u16::try_from(class).ok()?;
            (held > 0 || service_us > 0).then_some(ClassReport { class, held, service_us })
        };
        self.classes.iter().enumerate().filter_map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(arrived: u64, answered: u64, abandoned: u64, service_us: u64) -> ClassStats {
        ClassStats { arrived, answered, abandoned, service_ns: service_us * 1000 }
    }

    #[test]
    fn held_is_what_arrived_and_has_not_ended() {
        let mut meter = Meter::new(3);
        meter.take(&[stats(10, 6, 1, 600), stats(2, 0, 0, 0), stats(0, 0, 0, 0)]);
        assert_eq!(meter.held().collect::<Vec<_>>(), [3, 2, 0]);
        assert_eq!((meter.queue(), meter.load_us()), (5, 500));
        let class = |class, held, service_us| ClassReport { class, held, service_us };
        assert_eq!(meter.reports(), [class(0, 3, 100), class(1, 2, 0)]);
    }

    #[test]
    fn the_average_follows_as_if_each_request_counted_by_itself() {
        let (mut at_once, mut one_by_one) = (Meter::new(1), Meter::new(1));
        at_once.take(&[stats(1, 1, 0, 800)]);
        one_by_one.take(&[stats(1, 1, 0, 800)]);
        at_once.take(&[stats(5, 5, 0, 1200)]);
        (2..=5).for_each(|n| one_by_one.take(&[stats(n, n, 0, 800 + (n - 1) * 100)]));
        assert_eq!(at_once.reports(), one_by_one.reports());
        assert_eq!(at_once.reports()[0].service_us, 510);
        at_once.take(&[stats(1005, 1005, 0, 101_200)]);
        assert_eq!(at_once.reports()[0].service_us, 100);
    }

    #[test]
    fn a_quick_class_is_not_taken_for_an_unknown_one() {
        let mut meter = Meter::new(1);
        meter.take(&[ClassStats { arrived: 1, answered: 1, abandoned: 0, service_ns: 20 }]);
        assert_eq!(meter.reports()[0].service_us, 1);
    }

    #[test]
    fn a_correction_lasts_and_never_makes_less_than_nothing() {
        let mut meter = Meter::new(1);
        meter.take(&[stats(5, 2, 0, 0)]);
        meter.set_drift(&[2]);
        assert_eq!(meter.queue(), 1);
        meter.take(&[stats(5, 4, 0, 0)]);
        assert_eq!(meter.queue(), 0);
        meter.set_drift(&[1]);
        meter.take(&[stats(6, 4, 0, 0)]);
        assert_eq!(meter.queue(), 1);
    }
}

//! Targets that are asked for most, and the homes of those that were given one. Owns who counts as hot and the counting; which of
//! them gets another home is decided by `weighted`.
//!
//! Source: R. Ben Basat et al., *Randomized Admission Policy for Efficient Top-k and Frequency Estimation*, INFOCOM 2017: a
//! target that is not counted yet takes the place of the one asked for least with probability one in that one's count and one
//! more. Half of the counts is forgotten with every window. So a table that has little room keeps those that are really hot,
//! where the nearly equal tail would push them out of one that admits everybody.

use rand::{Rng, RngExt};

use crate::ids::{ClassId, ServerId};

/// Room for so many. Together with the weights of 64 servers they are the 128 entries that a front-end may need.
pub(super) const MAX_HOT: usize = 64;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct HotTarget {
    target: u64,
    /// Requests of this window, half of the one before, and so on.
    pub(super) requests: u32,
    /// Their expected service times, each at the home of that moment.
    pub(super) work_us: u64,
    /// Requests, as a part of a server's fair share (see `weighted::ONE`).
    pub(super) share: u64,
    /// Of the last request.
    pub(super) class: ClassId,
    /// Its home when it was last asked for.
    pub(super) seen_at: Option<ServerId>,
    /// The home it was given.
    pub(super) given: Option<ServerId>,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub(super) struct HotTargets(Vec<HotTarget>);

impl HotTarget {
    pub(super) fn target(&self) -> u64 {
        self.target
    }
}

impl HotTargets {
    /// Counts a request and gives what is known of its target.
    pub(super) fn count(&mut self, target: u64, class: ClassId, rng: &mut dyn Rng) -> Option<&mut HotTarget> {
        let place = match self.0.iter().position(|hot| hot.target == target) {
            Some(place) => place,
            None => self.admit(target, class, rng)?,
        };
        let hot = &mut self.0[place];
        hot.requests = hot.requests.saturating_add(1);
        Some(hot)
    }

    fn admit(&mut self, target: u64, class: ClassId, rng: &mut dyn Rng) -> Option<usize> {
        let new = HotTarget { target, requests: 0, work_us: 0, share: 0, class, seen_at: None, given: None };
        if self.0.len() < MAX_HOT {
            self.0.push(new);
            return Some(self.0.len() - 1);
        }
        let least = (0..self.0.len()).min_by_key(|&place| self.0[place].requests)?;
        let requests = self.0[least].requests;
        if rng.random_range(0..=requests) > 0 {
            return None;
        }
        self.0[least] = HotTarget { requests, ..new };
        Some(least)
    }

    /// What is known of a target.
    pub(super) fn get(&self, target: u64) -> Option<&HotTarget> {
        self.0.iter().find(|hot| hot.target == target)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HotTarget> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut HotTarget> {
        self.0.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives `target` a home, if it is one of them.
    pub(super) fn give(&mut self, target: u64, home: ServerId) {
        if let Some(hot) = self.0.iter_mut().find(|hot| hot.target == target) {
            hot.given = Some(home);
        }
    }

    /// Ends a window.
    pub(super) fn forget_half(&mut self) {
        for hot in &mut self.0 {
            hot.requests /= 2;
            hot.work_us /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg32;

    use super::*;

    #[test]
    fn those_that_are_asked_for_most_are_kept_among_many_others() {
        let (mut hot, mut rng) = (HotTargets::default(), Pcg32::seed_from_u64(1));
        for i in 0..60_000_u64 {
            // Ten targets have a hundredth each, 5000 the rest.
            let target = if i.is_multiple_of(10) { i / 10 % 10 } else { 10 + i % 5000 };
            hot.count(target, ClassId(0), &mut rng);
        }
        assert_eq!(hot.len(), MAX_HOT);
        for target in 0..10 {
            let found = hot.iter().find(|hot| hot.target == target);
            let requests = found.map_or(0, |hot| hot.requests);
            assert!((500..=700).contains(&requests), "{target} has {requests} of 600");
        }
    }
}

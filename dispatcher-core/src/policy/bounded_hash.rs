//! Consistent hashing with bounded loads: a target goes to the next server on the ring that has a slot free.
//!
//! Source: HAProxy's `hash-type consistent` with `hash-balance-factor`, after V. Mirrokni et al., *Consistent Hashing with
//! Bounded Loads*, 2018. All servers together have `⌈(total + 1) · factor⌉` slots, total being the requests that they hold
//! now; each server gets its share by weight (all weigh the same here), what does not divide goes round in whole slots, and
//! nobody has less than one. So there are always more slots than requests, and no server holds more than factor times its
//! share.
//! State: 64 points on the ring for each server, nothing for targets. Choose it when every object should be cached once,
//! some are hot, and the front-ends cannot share a table.

use std::{ops::RangeInclusive, time::Duration};

use dispatcher_common::choice::spread;
use rand::Rng;

use super::{Choice, Classified, Outcome, Policy, server_set::ServerSet};
use crate::{cluster::ServerView, ids::ServerId};

/// Points of a server on the ring: shares of the ring then differ by about an eighth.
const POINTS: u64 = 64;

/// Consistent hashing with bounded loads.
#[derive(Debug, Clone)]
pub struct BoundedHash {
    factor_percent: u32,
    /// Points in order. A server that is out keeps its points, so that its targets come back to it.
    ring: Vec<(u64, ServerId)>,
    on_ring: ServerSet,
}

impl BoundedHash {
    /// The configured name.
    pub const NAME: &'static str = "bounded-hash";

    /// Range of the factor in percent. With less than 100 there would be fewer slots than requests.
    pub const FACTORS: RangeInclusive<u32> = 100..=1000;

    /// `factor_percent` is how much of its even share a server may hold; the nearest of [`FACTORS`](Self::FACTORS) is taken.
    #[must_use]
    pub fn new(factor_percent: u32) -> Self {
        let factor_percent = factor_percent.clamp(*Self::FACTORS.start(), *Self::FACTORS.end());
        Self { factor_percent, ring: Vec::new(), on_ring: ServerSet::default() }
    }

    fn put_on_ring(&mut self, server: ServerId) {
        if self.on_ring.insert(server) {
            self.ring.extend((0..POINTS).map(|i| (spread(server.0.into(), i), server)));
            self.ring.sort_unstable();
        }
    }

    /// Servers in the order of the ring from the target on; each comes once for each of its points.
    fn from(&self, target: u64) -> impl Iterator<Item = ServerId> + '_ {
        // The index differs from those of the points, or small targets would fall on points.
        let place = spread(target, POINTS);
        let (before, after) = self.ring.split_at(self.ring.partition_point(|&(point, _)| point < place));
        after.iter().chain(before).map(|&(_, server)| server)
    }

    /// The eligible servers, and those of them with a free slot.
    fn room(&self, servers: &ServerView<'_>) -> (ServerSet, ServerSet) {
        let (mut eligible, mut free) = (ServerSet::default(), ServerSet::default());
        let held = servers.iter().map(|server| u64::from(server.queue()));
        let (count, total) = held.fold((0, 0), |(count, total), held| (count + 1, total + held));
        let slots = ((total + 1) * u64::from(self.factor_percent)).div_ceil(100);
        // What of the slots does not divide: a server gets one more whenever the rests of those before make a whole.
        let mut rests = 0;
        for server in servers.iter() {
            rests += slots % count;
            let own_slots = slots / count + u64::from(rests >= count);
            rests -= if rests >= count { count } else { 0 };
            eligible.insert(server.id());
            if u64::from(server.queue()) < own_slots.max(1) {
                free.insert(server.id());
            }
        }
        (eligible, free)
    }
}

impl Policy for BoundedHash {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn choose(
        &mut self,
        request: Classified,
        servers: &ServerView<'_>,
        _now: Duration,
        _rng: &mut dyn Rng,
    ) -> Option<Choice> {
        servers.iter().for_each(|server| self.put_on_ring(server.id()));
        let (eligible, free) = self.room(servers);
        let mut candidates = self.from(request.target_or_class()).filter(|&server| eligible.contains(server));
        let own = candidates.next()?;
        if free.contains(own) {
            return Some(Choice { server: own, outcome: Outcome::Hit });
        }
        let server = candidates.find(|&server| free.contains(server))?;
        Some(Choice { server, outcome: Outcome::Moved })
    }
}

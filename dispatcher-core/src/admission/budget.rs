//! How many evictions are allowed, in all and on behalf of the newcomers of one prefix. Owns the buckets; who is evicted is
//! `victims`' business.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use thiserror::Error;

use super::EvictionSettings;

/// Prefixes that are told apart; the rest share one budget.
pub const MAX_PREFIXES: usize = 4096;

/// A bucket holds what flows into it in so much time.
const BURST: Duration = Duration::from_secs(1);

/// An eviction must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OverBudget {
    /// The service's budget is used up.
    #[error("evictions of the service are used up; raise evictions_per_second if they should not be")]
    Service,
    /// The budget of the newcomer's prefix is.
    #[error("evictions for the source are used up; raise evictions_per_source if they should not be")]
    Source,
}

/// The budget of one service.
#[derive(Debug, Clone)]
pub struct EvictionBudget {
    settings: EvictionSettings,
    service: Bucket,
    sources: HashMap<IpNet, Bucket>,
    others: Bucket,
    /// When the map was last cleared of full buckets.
    cleared: Option<Duration>,
}

impl EvictionBudget {
    /// Begins with full buckets.
    #[must_use]
    pub fn new(settings: &EvictionSettings) -> Self {
        Self {
            settings: *settings,
            service: Bucket::default(),
            sources: HashMap::new(),
            others: Bucket::default(),
            cleared: None,
        }
    }

    /// Whether one eviction may be now on behalf of a newcomer from `source`.
    ///
    /// # Errors
    /// When it must not, and why.
    pub fn allows(&self, now: Duration, source: IpAddr) -> Result<(), OverBudget> {
        if !self.service.has_one(self.settings.per_second, now) {
            return Err(OverBudget::Service);
        }
        let known = self.sources.get(&self.prefix(source)).copied();
        let bucket = match known {
            None if self.sources.len() >= MAX_PREFIXES => self.others,
            bucket => bucket.unwrap_or_default(),
        };
        if bucket.has_one(self.settings.per_source, now) { Ok(()) } else { Err(OverBudget::Source) }
    }

    /// Takes one eviction on behalf of a newcomer from `source`.
    ///
    /// # Errors
    /// When there is none left; then nothing is taken.
    pub fn take(&mut self, now: Duration, source: IpAddr) -> Result<(), OverBudget> {
        let (per_second, per_source) = (self.settings.per_second, self.settings.per_source);
        if !self.service.has_one(per_second, now) {
            return Err(OverBudget::Service);
        }
        let bucket = self.bucket(source, now);
        if !bucket.has_one(per_source, now) {
            return Err(OverBudget::Source);
        }
        bucket.take(per_source, now);
        self.service.take(per_second, now);
        Ok(())
    }

    fn bucket(&mut self, source: IpAddr, now: Duration) -> &mut Bucket {
        let prefix = self.prefix(source);
        if self.sources.len() >= MAX_PREFIXES && !self.sources.contains_key(&prefix) {
            self.clear(now);
            if self.sources.len() >= MAX_PREFIXES {
                return &mut self.others;
            }
        }
        self.sources.entry(prefix).or_default()
    }

    fn prefix(&self, source: IpAddr) -> IpNet {
        let source = source.to_canonical();
        let len = if source.is_ipv4() { self.settings.prefix_ipv4 } else { self.settings.prefix_ipv6 };
        IpNet::new(source, len).map_or_else(|_| IpNet::from(source), |net| net.trunc())
    }

    /// Forgets full buckets, which are as good as new ones; at most once a burst, as more cannot have become full.
    fn clear(&mut self, now: Duration) {
        if self.cleared.is_none_or(|cleared| now >= cleared + BURST) {
            self.cleared = Some(now);
            self.sources.retain(|_, bucket| bucket.next > now);
        }
    }
}

/// A token bucket, as the time when the next token would be on time (generic cell rate algorithm).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    next: Duration,
}

impl Bucket {
    fn has_one(&self, per_second: u32, now: Duration) -> bool {
        // Less than one interval behind a full burst is one token less than none.
        per_second > 0 && self.next + BURST / per_second <= now + BURST
    }

    fn take(&mut self, per_second: u32, now: Duration) {
        self.next = self.next.max(now) + BURST.checked_div(per_second).unwrap_or_default();
    }
}

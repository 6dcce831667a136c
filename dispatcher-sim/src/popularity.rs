//! What clients ask for: a context by its popularity, which may move on, and flash crowds.
//! When they ask is `clients`'.

use std::ops::Range;

use rand_pcg::Pcg64;

use crate::{
    random,
    settings::{PopularityKind, WorkloadSettings},
    span::Span,
};

/// Draws contexts.
#[derive(Debug, Clone)]
pub struct Popularity {
    contexts: u32,
    /// Alias table: a rank, or with the rest of probability its alias. Empty when all ranks are alike.
    ranks: Vec<Rank>,
    shift_every_us: u64,
    flash: Option<Range<Span>>,
}

#[derive(Debug, Clone, Copy)]
struct Rank {
    /// Below it, in 32 bits, the rank itself is drawn.
    own: u64,
    alias: u32,
}

/// Whole probability of a rank's place in the alias table.
const WHOLE: u64 = 1 << 32;

impl Popularity {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: &WorkloadSettings) -> Self {
        let ranks = match settings.popularity {
            PopularityKind::Uniform => Vec::new(),
            PopularityKind::Zipf => alias_table(&zipf(settings.contexts, settings.exponent)),
        };
        let (contexts, flash) = (settings.contexts, settings.flash.clone());
        Self { contexts, ranks, shift_every_us: settings.shift_every.0, flash }
    }

    /// The next context asked for.
    pub fn draw(&self, now_us: u64, rng: &mut Pcg64) -> u32 {
        if self.flash.as_ref().is_some_and(|flash| flash.contains(&Span(now_us))) && random::chance(rng, 50) {
            return self.contexts - 1;
        }
        let rank = self.rank(rng);
        match now_us.checked_div(self.shift_every_us) {
            None => rank,
            Some(moves) => {
                let step = u64::from(self.contexts.div_ceil(10));
                ((u64::from(rank) + moves * step) % u64::from(self.contexts)) as u32
            }
        }
    }

    fn rank(&self, rng: &mut Pcg64) -> u32 {
        let bits = random::below(rng, u64::from(self.contexts) * WHOLE);
        let place = (bits >> 32) as usize;
        match self.ranks.get(place) {
            Some(rank) if bits % WHOLE >= rank.own => rank.alias,
            _ => place as u32,
        }
    }
}

/// Weights of ranks 1 to `count`.
fn zipf(count: u32, exponent: f64) -> Vec<f64> {
    (1..=count).map(|rank| libm::pow(f64::from(rank), -exponent)).collect()
}

/// Vose's method: places that are too full give to those that are not.
fn alias_table(weights: &[f64]) -> Vec<Rank> {
    let total: f64 = weights.iter().sum();
    let scale = weights.len() as f64 * WHOLE as f64 / total;
    let mut ranks: Vec<Rank> = weights.iter().map(|w| Rank { own: (w * scale) as u64, alias: 0 }).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..ranks.len()).partition(|&place| ranks[place].own < WHOLE);
    while let (Some(taker), Some(giver)) = (poor.pop(), rich.last().copied()) {
        ranks[taker].alias = giver as u32;
        ranks[giver].own -= WHOLE - ranks[taker].own;
        if ranks[giver].own < WHOLE {
            rich.pop();
            poor.push(giver);
        }
    }
    for place in poor {
        ranks[place] = Rank { own: WHOLE, alias: place as u32 };
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{random::Stream, settings::Settings};

    fn counts(settings: &WorkloadSettings, now_us: u64) -> Vec<u32> {
        let (popularity, mut rng) = (Popularity::new(settings), random::stream(1, Stream::Contexts));
        let mut counts = vec![0; settings.contexts as usize];
        (0..100_000).for_each(|_| counts[popularity.draw(now_us, &mut rng) as usize] += 1);
        counts
    }

    #[test]
    fn uniform_contexts_are_asked_for_alike() {
        let settings = WorkloadSettings { contexts: 100, ..Settings::default().workload };
        assert!(counts(&settings, 0).iter().all(|count| (850..1150).contains(count)));
    }

    #[test]
    fn zipf_ranks_have_their_shares() {
        let popularity = PopularityKind::Zipf;
        let settings =
            WorkloadSettings { contexts: 100, popularity, exponent: 1.0, ..Settings::default().workload };
        let counts = counts(&settings, 0);
        // 1/H(100) is 0.1928.
        for (rank, expected) in [(0, 19_278), (1, 9639), (9, 1928), (99, 193)] {
            assert!(counts[rank].abs_diff(expected) < expected / 10 + 50, "{rank}: {}", counts[rank]);
        }
    }

    #[test]
    fn a_shift_makes_other_contexts_popular() {
        let popularity = PopularityKind::Zipf;
        let settings = WorkloadSettings {
            contexts: 100,
            popularity,
            shift_every: Span::s(1),
            ..Settings::default().workload
        };
        let most = |now_us| {
            let counts = counts(&settings, now_us);
            (0..100).max_by_key(|&context| counts[context]).unwrap()
        };
        assert_eq!((most(0), most(1_000_000), most(10_000_000)), (0, 10, 0));
    }

    #[test]
    fn a_flash_crowd_asks_for_one_context_while_it_lasts() {
        let flash = Some(Span::s(1)..Span::s(2));
        let settings = WorkloadSettings { contexts: 100, flash, ..Settings::default().workload };
        assert!(counts(&settings, 1_500_000)[99] > 45_000);
        assert!(counts(&settings, 2_500_000)[99] < 1200);
    }
}

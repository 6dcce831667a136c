//! The middle of some measurements and how far they lie apart.

/// A median with bounds around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Median, least and most: for a few rounds.
    ///
    /// # Panics
    /// If there is no sample.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        Self::between(samples, 0.0, 1.0)
    }

    /// Median and quartiles: for many samples, of which the outermost tell nothing.
    ///
    /// # Panics
    /// If there is no sample.
    #[must_use]
    pub fn quartiles(samples: &[f64]) -> Self {
        Self::between(samples, 0.25, 0.75)
    }

    fn between(samples: &[f64], low: f64, high: f64) -> Self {
        assert!(!samples.is_empty(), "there is no median of nothing");
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { median: quantile(&sorted, 0.5), low: quantile(&sorted, low), high: quantile(&sorted, high) }
    }
}

/// Between two samples, on the line through them.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(Spread::of(&samples), Spread { median: 2.5, low: 1.0, high: 4.0 });
        assert_eq!(Spread::quartiles(&samples), Spread { median: 2.5, low: 1.75, high: 3.25 });
    }
}

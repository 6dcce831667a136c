//! Tells a lasting difference from passing ones. What the programs count and what a look at all flows finds differ for a moment
//! all the time, because flows change while one looks; what stays for many looks in a row is a request whose end was never
//! seen. Pure.

/// Looks in a row that must agree on the sign.
const LOOKS: u32 = 8;

/// One number that ought to be zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drift {
    /// The least difference, by size, of the looks in a row.
    least: i64,
    looks: u32,
}

impl Drift {
    /// Takes one look; gives the part of the difference that has lasted, and begins anew.
    pub(super) fn look(&mut self, difference: i64) -> i64 {
        let agrees = difference != 0 && difference.signum() == self.least.signum();
        if !agrees {
            *self = Self { least: difference, looks: u32::from(difference != 0) };
            return 0;
        }
        self.looks += 1;
        if difference.abs() < self.least.abs() {
            self.least = difference;
        }
        if self.looks < LOOKS {
            return 0;
        }
        std::mem::take(self).least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(differences: &[i64]) -> Vec<i64> {
        let mut drift = Drift::default();
        differences.iter().map(|difference| drift.look(*difference)).collect()
    }

    #[test]
    fn only_what_lasts_is_given_and_only_as_much_of_it_as_lasted() {
        assert_eq!(looks(&[3, 5, 2, 2, 9, 2, 4, 3]), [0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(looks(&[-1; 8]).last(), Some(&-1));
    }

    #[test]
    fn a_look_without_a_difference_or_with_the_other_sign_begins_anew() {
        assert_eq!(looks(&[1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]), [0; 11]);
        assert_eq!(looks(&[1, 1, 1, 1, 1, 1, 1, -1, 1, 1]), [0; 10]);
    }

    #[test]
    fn after_a_correction_counting_begins_anew() {
        let given = looks(&[1; 16]);
        assert_eq!(given.iter().filter(|part| **part == 1).count(), 2);
    }
}

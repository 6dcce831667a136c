//! `context` with a weighted table: a target's home is the server with the least distance by weight, load lengthens distances a
//! little, and a request is moved when its server holds T_load more than the least busy. Why so, says the decision core's
//! `policy::weighted`, which also learns weights and homes.

use super::{Decision, NO_SERVER, distance, outcome};

/// A weight, a share or a part of 1.
pub const ONE: u64 = 1 << 16;

/// Distances are a thirty-second part longer for each T_load that a server holds more than the least busy.
const DISCOUNT_ONE_IN: u64 = 32;

/// How much a target is asked for.
pub mod level {
    pub const COLD: u8 = 0;
    /// So much that it may get another home.
    pub const HOT: u8 = 1;
    /// So much that it may be in several memories.
    pub const MANY_HOMES: u8 = 2;
}

/// A server on its way to be the nearest.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    distance: u64,
    /// What it holds more than the least busy.
    excess_us: u64,
    server: u64,
}

const NOWHERE: Place = Place { distance: u64::MAX, excess_us: 0, server: NO_SERVER as u64 };

impl Place {
    #[inline(always)]
    const fn is_somewhere(&self) -> bool {
        self.server != NO_SERVER as u64
    }

    #[inline(always)]
    const fn is_beyond(&self, distance: u64) -> bool {
        distance < self.distance || !self.is_somewhere()
    }
}

/// The nearest servers of a target.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest {
    target: u64,
    t_load_us: u64,
    /// By weights alone.
    home: Place,
    /// By weights and load.
    first: Place,
    second: Place,
    /// What the target's given home holds more than the least busy, if it was offered.
    given_excess_us: u64,
    given: u32,
    given_is_offered: u32,
}

impl Nearest {
    /// Of no server yet. `given` is the home that the target was given, [`NO_SERVER`] if none; `t_load_us` is above zero.
    #[inline(always)]
    #[must_use]
    pub const fn new(target: u64, given: u16, t_load_us: u64) -> Self {
        Self {
            target,
            t_load_us,
            home: NOWHERE,
            first: NOWHERE,
            second: NOWHERE,
            given_excess_us: 0,
            given: given as u32,
            given_is_offered: 0,
        }
    }

    /// Takes the next eligible server, in order of ids. Its weight is between a 64th and 64 times [`ONE`].
    #[inline(always)]
    pub fn offer(&mut self, server: u16, weight: u64, excess_us: u64) {
        let plain = (distance(self.target, server) << 16).checked_div(weight).unwrap_or(u64::MAX);
        let discounted = self.discounted(plain, excess_us);
        let place = |distance| Place { distance, excess_us, server: server as u64 };
        if self.home.is_beyond(plain) {
            self.home = place(plain);
        }
        if self.first.is_beyond(discounted) {
            (self.second, self.first) = (self.first, place(discounted));
        } else if self.second.is_beyond(discounted) {
            self.second = place(discounted);
        }
        if server as u32 == self.given {
            (self.given_excess_us, self.given_is_offered) = (excess_us, 1);
        }
    }

    #[inline(always)]
    fn discounted(&self, plain: u64, excess_us: u64) -> u64 {
        if excess_us == 0 {
            return saturating_product(plain, ONE);
        }
        let excess = saturating_product(excess_us, ONE / DISCOUNT_ONE_IN);
        let part = excess.checked_div(self.t_load_us).unwrap_or(u64::MAX);
        saturating_product(plain, ONE.saturating_add(part))
    }

    /// Puts the given home, if it is eligible, before all that distances say. Call it once all servers were offered.
    #[inline(always)]
    pub fn settle(&mut self) {
        if self.given_is_offered == 0 {
            return;
        }
        let given = Place { distance: 0, excess_us: self.given_excess_us, server: self.given as u64 };
        if self.first.server != given.server {
            self.second = self.first;
        }
        (self.home, self.first) = (given, given);
    }

    /// Where the target is at home; [`NO_SERVER`] without any server.
    #[inline(always)]
    #[must_use]
    pub const fn home(&self) -> u16 {
        self.home.server as u16
    }

    /// Decides for a target of this [`level`]; `None` without any server. `least` is the least busy one. A hot target that is
    /// moved goes there, others to the second nearest if that one holds half of what is too much at most.
    #[inline(always)]
    #[must_use]
    pub const fn decide(&self, level: u8, least: u16) -> Option<Decision> {
        if !self.first.is_somewhere() {
            return None;
        }
        let most_us = if level == level::MANY_HOMES { self.t_load_us / 4 } else { self.t_load_us };
        if self.first.excess_us <= most_us {
            return Some(Decision { server: self.first.server as u16, outcome: outcome::HIT });
        }
        let has_room = self.second.is_somewhere() && self.second.excess_us <= most_us / 2;
        let server = if has_room && level != level::HOT { self.second.server as u16 } else { least };
        Some(Decision { server, outcome: outcome::MOVED })
    }
}

/// The product, or the largest number. eBPF has no instruction that gives the upper half of one.
#[inline(always)]
const fn saturating_product(a: u64, b: u64) -> u64 {
    const LOW: u64 = u32::MAX as u64;
    let (a_high, a_low, b_high, b_low) = (a >> 32, a & LOW, b >> 32, b & LOW);
    // One of the two is zero, unless both upper halves count.
    let middle = (a_high * b_low).wrapping_add(a_low * b_high);
    if a_high != 0 && b_high != 0 || middle > LOW {
        return u64::MAX;
    }
    (middle << 32).saturating_add(a_low * b_low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_saturate(a in any::<u64>(), b in any::<u64>(), shifts in (0_u32..64, 0_u32..64)) {
            let (a, b) = (a >> shifts.0, b >> shifts.1);
            prop_assert_eq!(saturating_product(a, b), a.saturating_mul(b));
        }
    }
}

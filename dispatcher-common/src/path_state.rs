//! What a server's kernel has learnt of the path to a client, for the next server of the same connection. Its socket would else
//! begin like that of an unknown path (RFC 9040 calls this temporal sharing, of control blocks that follow each other).
//!
//! One byte of a ticket: steps of the congestion window in the lower half, of the round-trip time in the upper one.

/// Congestion window and round-trip time of a path, in coarse steps; each may be unknown.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathState(pub u8);

/// A front-end's timestamps are its clock's nanoseconds shifted by this.
pub const TICK_SHIFT: u32 = 20;

const TICK_US: u32 = (1 << TICK_SHIFT) / 1000;

/// In ticks: 256 ms.
const FARTHEST: u32 = 244;

/// Of both scales; step 0 is unknown.
const LAST_STEP: u8 = 15;

impl PathState {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self(0);

    /// What is told of a window in segments, at least 2 and rounded down, and of a time in microseconds, from 1 ms on and rounded
    /// to the nearer step.
    #[inline(always)]
    #[must_use]
    pub const fn new(window: u32, round_trip_us: u32) -> Self {
        let rounded_us = round_trip_us.saturating_add(round_trip_us / 3);
        let (mut window_step, mut time_step) = (0, 0);
        let mut step = 1;
        while step <= LAST_STEP {
            if window >= window_of(step) {
                window_step = step;
            }
            if rounded_us >= 1000 * milliseconds_of(step) {
                time_step = step;
            }
            step += 1;
        }
        Self(time_step << 4 | window_step)
    }

    /// What a client's echo tells when it comes with the first request: how long ago the front-end has sent that timestamp. Both
    /// are of its clock. A client that waited with its request seems farther away, but never so far that the kernel would wait
    /// longer for a first acknowledgement than the second of RFC 6298: it begins with three times this.
    #[inline(always)]
    #[must_use]
    pub const fn of_handshake(now: u32, echo: u32) -> Self {
        let ago = now.wrapping_sub(echo);
        let ago = if ago < FARTHEST { ago } else { FARTHEST };
        Self::new(0, ago * TICK_US)
    }

    /// The congestion window in segments, 2 to 320.
    #[inline(always)]
    #[must_use]
    pub const fn window(self) -> Option<u32> {
        match self.0 & 0xf {
            0 => None,
            step => Some(window_of(step)),
        }
    }

    /// The round-trip time in milliseconds, a power of two up to 16 384; 0 if unknown or shorter than that.
    #[inline(always)]
    #[must_use]
    pub const fn round_trip_ms(self) -> u32 {
        match self.0 >> 4 {
            0 => 0,
            step => milliseconds_of(step),
        }
    }
}

/// Two steps double it: 2, 3, 5, 7, 10, 14, 20, …, 320. 10 is where connections start (RFC 6928), so those stay there exactly.
#[inline(always)]
const fn window_of(step: u8) -> u32 {
    let mantissa = if step.is_multiple_of(2) { 14 } else { 10 };
    (mantissa << ((step - 1) / 2)) >> 2
}

#[inline(always)]
const fn milliseconds_of(step: u8) -> u32 {
    1 << (step - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(window: u32, round_trip_us: u32) -> (Option<u32>, u32) {
        let state = PathState::new(window, round_trip_us);
        (state.window(), state.round_trip_ms())
    }

    #[test]
    fn a_window_is_never_told_larger_and_never_by_a_third_smaller() {
        assert_eq!((told(0, 0), told(1, 0)), ((None, 0), (None, 0)));
        for window in 2..400 {
            let told = told(window, 0).0.unwrap();
            assert!(told <= window && (3 * told >= 2 * window || told == 320), "{window} as {told}");
        }
        for window in [2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320] {
            assert_eq!(told(window, 0).0, Some(window));
        }
        assert_eq!(told(u32::MAX, u32::MAX), (Some(320), 16_384));
    }

    #[test]
    fn a_time_is_told_by_the_nearer_power_of_two() {
        for (round_trip_us, expected) in
            [(0, 0), (749, 0), (750, 1), (1400, 1), (1500, 2), (30_000, 32), (47_000, 32), (49_000, 64)]
        {
            assert_eq!(told(0, round_trip_us), (None, expected), "{round_trip_us} us");
        }
        for round_trip_us in (1000..20_000_000).step_by(997) {
            let told_us = 1000 * told(0, round_trip_us).1;
            assert!(
                3 * told_us >= 2 * round_trip_us || told_us == 16_384_000,
                "{round_trip_us} as {told_us}"
            );
            assert!(3 * told_us <= 4 * round_trip_us + 3, "{round_trip_us} as {told_us}");
        }
    }

    #[test]
    fn the_echo_of_a_handshake_tells_a_time_of_at_most_a_quarter_of_a_second() {
        let told = |ago: u32| PathState::of_handshake(5_u32.wrapping_add(ago), 5).round_trip_ms();
        assert_eq!(
            [0, 1, 30, 100, 250, 300, 100_000, u32::MAX].map(told),
            [0, 1, 32, 128, 256, 256, 256, 256]
        );
        assert_eq!(PathState::of_handshake(10, u32::MAX).round_trip_ms(), 8, "the clock wraps");
        assert_eq!(PathState::of_handshake(100, 5).window(), None);
    }

    #[test]
    fn both_are_told_at_once() {
        assert_eq!(told(45, 100_000), (Some(40), 128));
        assert_eq!(PathState::UNKNOWN, PathState::new(0, 0));
    }
}

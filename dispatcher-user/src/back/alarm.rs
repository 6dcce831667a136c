//! Says in words what counters mean that ought not to move: each hints at a mistake that an operator can put right.

use std::{io, sync::Arc, time::Duration};

use dispatcher_common::counter::BackCounter;
use tokio::time::{MissedTickBehavior, interval};

use super::reporter::{Counters, count};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks during which a counter is not mentioned again.
const QUIET_LOOKS: u32 = 60;

/// Counters and what to do about them.
const HINTS: [(BackCounter, &str); 6] = [
    (BackCounter::TicketBad, "is the secret the same as the front-end's?"),
    (BackCounter::TicketExpired, "synchronise the clocks of front-end and server"),
    (BackCounter::HandoffMptcpRefused, "make the server's software listen without MPTCP"),
    (BackCounter::HandoffNoListener, "start the server's software, or check the port"),
    (
        BackCounter::HandoffRefused,
        "do net.ipv4.tcp_timestamps, tcp_sack and tcp_window_scaling still have their defaults?",
    ),
    (BackCounter::RetireStuck, "set net.ipv4.tcp_rfc1337=0"),
];

/// Watches the counters.
pub(super) struct Alarm {
    counters: Arc<Counters>,
    watched: [Watched; HINTS.len()],
}

/// One counter.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    mentioned: u64,
    quiet: u32,
}

impl Watched {
    /// Takes the counter's value; gives by how much it has grown if that is to be mentioned now.
    fn look(&mut self, value: u64) -> Option<u64> {
        self.quiet = self.quiet.saturating_sub(1);
        let grown = value.saturating_sub(self.mentioned);
        if grown == 0 || self.quiet > 0 {
            return None;
        }
        *self = Self { mentioned: value, quiet: QUIET_LOOKS };
        Some(grown)
    }
}

impl Alarm {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let mut watched = [Watched::default(); HINTS.len()];
        for (watched, (counter, _)) in watched.iter_mut().zip(HINTS) {
            watched.mentioned = count(&counters, counter).unwrap_or(0);
        }
        Self { counters, watched }
    }

    /// Watches for ever.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look() {
                tracing::warn!("cannot read the counters: {error}");
            }
        }
    }

    fn look(&mut self) -> io::Result<()> {
        for (watched, (counter, hint)) in self.watched.iter_mut().zip(HINTS) {
            if let Some(grown) = watched.look(count(&self.counters, counter)?) {
                tracing::warn!("{grown} {}; {hint}", counter.help());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_goes_on_is_mentioned_once_in_a_while_with_all_that_came() {
        let mut watched = Watched { mentioned: 7, quiet: 0 };
        assert_eq!(watched.look(7), None);
        assert_eq!(watched.look(8), Some(1));
        let mentions: Vec<u64> = (9..=200).filter_map(|value| watched.look(value)).collect();
        assert_eq!(mentions, [60, 60, 60]);
    }
}

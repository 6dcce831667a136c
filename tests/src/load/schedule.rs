//! When requests are due. Owns the draws: sessions of each level come as a Poisson process of its own, and the requests of a
//! session follow each other at exponential distances.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::Level;

/// Mean time between two requests of a session.
const THINK: Duration = Duration::from_millis(200);

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests a second, all levels.
    pub rate: f64,
    /// Requests of a session, on one connection as long as that lives.
    pub requests_per_session: u32,
    /// What is due before is not counted.
    pub warm_up: Duration,
    /// How long requests are counted.
    pub duration: Duration,
    /// How long a client waits for an answer. The load goes on for so long after the last request that is counted, or those who wait at
    /// its end would meet an idle system.
    pub patience: Duration,
    pub seed: u64,
}

/// The requests of one client on one connection.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub level: Level,
    /// Number of the client, and what it asks for.
    pub client: u16,
    /// Times of its requests, ascending.
    pub due: Vec<Duration>,
}

impl Load {
    /// From the first request to the last.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.warm_up + self.duration + self.patience
    }

    /// Whether a request that is due then is counted.
    #[must_use]
    pub fn counts(&self, due: Duration) -> bool {
        (self.warm_up..self.warm_up + self.duration).contains(&due)
    }

    /// All sessions, by the time of their first request.
    pub(super) fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<_> = Level::ALL.into_iter().flat_map(|level| self.sessions_of(level)).collect();
        sessions.sort_by_key(|session| session.due.first().copied());
        sessions
    }

    fn sessions_of(&self, level: Level) -> Vec<Session> {
        let mut rng = Pcg64::seed_from_u64(self.seed * 8 + u64::from(level.priority()));
        let mean = f64::from(self.requests_per_session) / (self.rate * level.share());
        let mean = Duration::from_secs_f64(mean);
        let mut sessions = Vec::new();
        let mut start = exponential(&mut rng, mean);
        while start < self.end() {
            let client = (rng.next_u64() >> 48) as u16;
            let session = Session { level, client, due: self.times(&mut rng, start) };
            sessions.push(session);
            start += exponential(&mut rng, mean);
        }
        sessions
    }

    fn times(&self, rng: &mut Pcg64, start: Duration) -> Vec<Duration> {
        let mut at = start;
        let mut times = Vec::new();
        for _ in 0..self.requests_per_session {
            if at >= self.end() {
                break;
            }
            times.push(at);
            at += exponential(rng, THINK);
        }
        times
    }
}

fn exponential(rng: &mut Pcg64, mean: Duration) -> Duration {
    // 53 bits, never zero: the logarithm is finite.
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    mean.mul_f64(-uniform.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(requests_per_session: u32) -> Load {
        Load {
            rate: 1000.0,
            requests_per_session,
            warm_up: Duration::from_secs(20),
            duration: Duration::from_secs(80),
            patience: Duration::from_secs(2),
            seed: 1,
        }
    }

    #[test]
    fn each_level_has_its_share_in_sessions_of_any_length() {
        for requests_per_session in [1, 5] {
            let load = load(requests_per_session);
            let mut counts = [0.0; 3];
            for session in load.sessions() {
                let counted = session.due.iter().filter(|&&due| load.counts(due)).count();
                counts[session.level as usize] += counted as f64;
            }
            for level in Level::ALL {
                let rate = counts[level as usize] / load.duration.as_secs_f64();
                let expected = load.rate * level.share();
                assert!((rate / expected - 1.0).abs() < 0.05, "{}: {rate} of {expected}", level.name());
            }
        }
    }

    #[test]
    fn clients_are_in_the_network_of_their_level() {
        for level in Level::ALL {
            let (network, _) = level.network().split_once('/').unwrap();
            let network = u32::from(network.parse::<std::net::Ipv4Addr>().unwrap());
            assert!((0..u16::MAX).all(|client| u32::from(level.address(client)) >> 14 == network >> 14));
        }
    }
}

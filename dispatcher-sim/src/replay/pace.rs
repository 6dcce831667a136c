//! When the requests of a log are issued: logs have whole seconds, so those of one second are spread evenly over it; quiet times
//! are shortened, and a clock that goes back stands still.

use super::{ReplaySettings, record::Chunk};

/// The simulated time of a log.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    speed: f64,
    longest_gap_us: u64,
    /// The second that was placed last, in the log's time.
    last: Option<i64>,
    /// Where it ends, in simulated µs.
    end_us: u64,
}

impl Timeline {
    pub(super) fn new(settings: &ReplaySettings) -> Self {
        let speed = settings.speed.max(1e-6);
        Self { speed, longest_gap_us: settings.longest_gap.0, last: None, end_us: 0 }
    }

    /// Gives times to the first requests of a chunk, and says how many. The last second stays, unless it is all there is, or
    /// nothing follows.
    pub(super) fn place(&mut self, chunk: &mut Chunk, is_end: bool) -> usize {
        let seconds = chunk.seconds();
        let last = seconds.last().copied();
        let whole = seconds.iter().rposition(|&second| Some(second) != last).map_or(0, |place| place + 1);
        let ready = if is_end || whole == 0 { seconds.len() } else { whole };
        let mut begin = 0;
        while begin < ready {
            let second = chunk.seconds()[begin];
            let count = chunk.seconds()[begin..ready].iter().take_while(|&&other| other == second).count();
            self.spread(chunk, begin, count, second);
            begin += count;
        }
        ready
    }

    fn spread(&mut self, chunk: &mut Chunk, begin: usize, count: usize, second: i64) {
        let length_us = (1e6 / self.speed) as u64;
        let quiet_s = second.saturating_sub(self.last.map_or(second, |last| last.saturating_add(1))).max(0);
        let quiet_us = (quiet_s as f64 * 1e6 / self.speed) as u64;
        let begin_us = self.end_us + quiet_us.min(self.longest_gap_us);
        for index in 0..count {
            chunk.set_at_us(begin + index, begin_us + length_us * index as u64 / count as u64);
        }
        self.end_us = begin_us + length_us;
        self.last = Some(second.max(self.last.unwrap_or(second)));
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contender::Contender, replay::record::Reader, span::Span};

    /// Simulated times of requests at the given seconds of a log, taken in chunks of two.
    fn times(settings: &ReplaySettings, seconds: &[i64]) -> Vec<u64> {
        let mut reader = Reader::new(settings, &[Contender::named("hash")]);
        let (mut timeline, mut chunk, mut times) = (Timeline::new(settings), Chunk::default(), Vec::new());
        for (place, second) in seconds.iter().enumerate() {
            let line = format!("{{\"msec\": {second}, \"request\": \"GET / HTTP/1.1\"}}");
            reader.read(line.as_bytes(), &mut chunk).unwrap();
            let is_end = place + 1 == seconds.len();
            if chunk.len() >= 2 || is_end {
                let ready = timeline.place(&mut chunk, is_end);
                times.extend((0..ready).map(|place| chunk.at_us(place)));
                chunk.drop_first(ready);
            }
        }
        times
    }

    #[test]
    fn requests_of_a_second_are_spread_over_it_and_quiet_times_shortened() {
        let settings = ReplaySettings::default();
        assert_eq!(times(&settings, &[7, 8, 8, 9]), [0, 1_000_000, 1_500_000, 2_000_000]);
        assert_eq!(times(&settings, &[7, 8, 1000]), [0, 1_000_000, 3_000_000]);
        let settings = ReplaySettings { speed: 10.0, longest_gap: Span::ms(50), ..settings };
        assert_eq!(times(&settings, &[7, 8, 1000]), [0, 100_000, 250_000]);
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let times = times(&ReplaySettings::default(), &[9, 8, 7, 9, 10]);
        assert!(times.is_sorted() && times[4] <= 4_000_000, "{times:?}");
    }
}

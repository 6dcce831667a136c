//! Inversions of priority, from a log of requests: somebody was turned away while somebody lower was let in.
//!
//! A request stands *at the door* from when its client begins to send it until the client knows that it was turned away. A
//! request that was served was *let in* at some moment after its client began to send it, and before its response less the
//! least time that a server needs; and since whoever is turned away is told at once, no later than the door takes to tell.
//! Clients do not see the moment itself. So an inversion is *certain* when every such moment is within the other's time at
//! the door, and *possible* when one is. The third count is Fig. 3's own condition: a lower request that was let in before was
//! *held* all the time that the other stood at the door.

use std::time::Duration;

use super::Record;

/// Requests turned away for which there is a lower one that was let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inversions {
    pub certain: usize,
    pub possible: usize,
    pub held: usize,
}

/// From when to when.
type Span = (Duration, Duration);

/// Counts the inversions. `service` is the least time that a server needs for a request, `decision` the most that the front-end
/// does for a decision.
#[must_use]
pub fn inversions(records: &[Record], service: Duration, decision: Duration) -> Inversions {
    let mut served: Vec<&Record> = records.iter().filter(|record| record.is_served()).collect();
    served.sort_by_key(|record| record.began);
    let mut found = Inversions::default();
    for refused in records.iter().filter(|record| !record.is_served()) {
        let door = (refused.began, refused.ended);
        // Nobody who began after the other left the door was let in before.
        let until = served.partition_point(|record| record.began <= door.1);
        let lower = || served[..until].iter().filter(|record| record.level < refused.level);
        let entry = |record: &Record| entry(record, service, decision);
        found.certain += usize::from(lower().any(|record| contains(door, entry(record))));
        found.possible += usize::from(lower().any(|record| overlap(door, entry(record))));
        found.held += usize::from(lower().any(|record| entry(record).1 < door.0 && record.ended > door.1));
    }
    found
}

/// When a served request may have been let in.
fn entry(record: &Record, service: Duration, decision: Duration) -> Span {
    let latest = record.ended.saturating_sub(service).min(record.began + decision);
    (record.began, latest.max(record.began))
}

fn contains(outer: Span, inner: Span) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}

fn overlap(one: Span, other: Span) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Level, Outcome};

    const MS: Duration = Duration::from_millis(1);

    fn record(level: Level, began: u32, ended: u32, outcome: Outcome) -> Record {
        Record { level, due: began * MS, began: began * MS, ended: ended * MS, outcome, server: None }
    }

    fn count(low: (u32, u32), low_outcome: Outcome) -> (usize, usize, usize) {
        let records =
            [record(Level::High, 100, 104, Outcome::Refused), record(Level::Low, low.0, low.1, low_outcome)];
        let Inversions { certain, possible, held } = inversions(&records, 10 * MS, 3 * MS);
        (certain, possible, held)
    }

    #[test]
    fn an_inversion_is_as_sure_as_the_moment_of_entry() {
        assert_eq!(count((101, 113), Outcome::Served), (1, 1, 0));
        assert_eq!(count((103, 150), Outcome::Served), (0, 1, 0));
        assert_eq!(count((98, 150), Outcome::Served), (0, 1, 0));
        assert_eq!(count((105, 150), Outcome::Served), (0, 0, 0), "the other was gone");
        assert_eq!(count((90, 150), Outcome::Served), (0, 0, 1), "let in before, and still held");
        assert_eq!(count((90, 102), Outcome::Served), (0, 0, 0));
        assert_eq!(count((101, 102), Outcome::Refused), (0, 0, 0));
    }

    #[test]
    fn equals_and_betters_may_be_served() {
        let refused = record(Level::Medium, 100, 104, Outcome::Reset);
        for level in [Level::Medium, Level::High] {
            let records = [refused.clone(), record(level, 101, 113, Outcome::Served)];
            assert_eq!(inversions(&records, 10 * MS, 3 * MS), Inversions::default());
        }
    }
}

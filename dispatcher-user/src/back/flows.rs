//! The look at all flows, once a second: counts the open ones, forgets the old ones, and notices what the running counts have
//! missed. The programs never hear of the end of a request whose flow was evicted, or whose connection ended in silence.

use std::{io, time::Duration};

use aya::maps::{Array, MapData, MapError};
use dispatcher_common::{
    epoch::EPOCH_SHIFT,
    filter::FlowKey,
    limits::MAX_CLASSES,
    server::{ClassStats, ServerFlow, framing, phase},
    under_way::class_place,
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Shared,
    classes::{self, ClassTable},
    drift::Drift,
};
use crate::kernel::{
    clock,
    table::{Cursor, Table},
};

/// Time from the beginning of one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// A flow that has ended or was released is remembered for as long as its ticket could be replayed, which is good for two epochs,
/// and what comes late can be sent after it.
const ENDED_NS: u64 = 3 << EPOCH_SHIFT;

/// A flow without a further request for so long is forgotten even if its end was not seen. Above any keep-alive time.
const QUIET_NS: u64 = 3_600_000_000_000;

/// The FLOWS map.
pub(super) type FlowTable = Table<FlowKey, ServerFlow>;

/// What a look at all flows found.
#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    /// Flows that have not ended.
    pub(super) connections: u32,
    /// By class, requests that the statistics hold too many (or, negative, too few).
    pub(super) drift: Vec<i64>,
}

/// Looks at the flows.
pub(super) struct Flows {
    table: FlowTable,
    classes: ClassTable,
    /// The HELD map.
    held: Array<MapData, u64>,
    census: Shared<Census>,
    drift_of_held: Drift,
    drift_of_classes: Vec<Drift>,
    lasting: Vec<i64>,
}

/// What one look adds up.
struct Tally {
    connections: u32,
    waiting: Vec<i64>,
}

impl Flows {
    pub(super) fn new(
        table: FlowTable,
        classes: ClassTable,
        held: Array<MapData, u64>,
        census: Shared<Census>,
    ) -> Self {
        Self {
            table,
            classes,
            held,
            census,
            drift_of_held: Drift::default(),
            drift_of_classes: vec![Drift::default(); MAX_CLASSES],
            lasting: vec![0; MAX_CLASSES],
        }
    }

    /// Looks for ever.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!("cannot look at the flows: {error}");
            }
        }
    }

    async fn look(&mut self) -> io::Result<()> {
        let before = self.counts()?;
        let tally = self.tally().await?;
        let after = self.counts()?;
        self.correct_held(least(before.0, after.0) - tally.waiting.iter().sum::<i64>());
        for (class, waiting) in tally.waiting.iter().enumerate() {
            let held = least(classes::held(&before.1[class]), classes::held(&after.1[class]));
            self.lasting[class] += self.drift_of_classes[class].look(held - self.lasting[class] - waiting);
        }
        self.census.set(Census { connections: tally.connections, drift: self.lasting.clone() });
        Ok(())
    }

    /// HELD, and the statistics by class.
    fn counts(&self) -> io::Result<(i64, Vec<ClassStats>)> {
        let held = self.held.get(&0, 0).map_err(io::Error::other)?;
        Ok((held.cast_signed(), classes::totals(&self.classes)?))
    }

    async fn tally(&self) -> io::Result<Tally> {
        let mut tally = Tally { connections: 0, waiting: vec![0; MAX_CLASSES] };
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        while !cursor.is_done() {
            found.clear();
            self.table.scan(&mut cursor, &mut found)?;
            let now_ns = clock::monotonic_ns();
            for (key, flow) in &found {
                if is_old(flow, now_ns) {
                    self.forget(key, now_ns);
                } else {
                    tally.add(flow);
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(tally)
    }

    /// A new connection may have come on the port since the batch was read.
    fn forget(&self, key: &FlowKey, now_ns: u64) {
        if let Ok(Some(latest)) = self.table.lookup(key)
            && is_old(&latest, now_ns)
        {
            // One that the kernel evicted first is gone all the same.
            let _ = self.table.delete(key);
        }
    }

    /// The programs add to the number at the same time: a step of theirs may be lost, and is found by a later look.
    fn correct_held(&mut self, difference: i64) {
        let lasting = self.drift_of_held.look(difference);
        if lasting == 0 {
            return;
        }
        let corrected = self
            .held
            .get(&0, 0)
            .and_then(|held| self.held.set(0, held.wrapping_sub(lasting.cast_unsigned()), 0));
        match corrected {
            Ok(()) => tracing::debug!("requests held corrected by {}", -lasting),
            Err(error) => report(&error),
        }
    }
}

fn report(error: &MapError) {
    tracing::warn!("cannot correct the number of requests held: {error}");
}

impl Tally {
    fn add(&mut self, flow: &ServerFlow) {
        if !has_left(flow) {
            self.connections += 1;
        }
        if flow.framing != framing::OFF {
            for number in (0..under_way(flow)).map(|further| flow.answered.wrapping_add(further)) {
                self.wait(flow.classes[class_place(number)]);
            }
        } else if flow.phase == phase::WAITING {
            self.wait(flow.class);
        }
    }

    fn wait(&mut self, class: u16) {
        if let Some(waiting) = self.waiting.get_mut(usize::from(class)) {
            *waiting += 1;
        }
    }
}

/// Requests of a flow whose response has not begun.
pub(super) fn under_way(flow: &ServerFlow) -> u8 {
    match flow.framing {
        framing::OFF => u8::from(flow.phase == phase::WAITING),
        _ => flow.arrived.wrapping_sub(flow.answered),
    }
}

/// Whether the connection has ended, or is at another server.
fn has_left(flow: &ServerFlow) -> bool {
    matches!(flow.phase, phase::CLOSED | phase::RELEASED)
}

/// The one nearer to zero.
fn least(a: i64, b: i64) -> i64 {
    if a.abs() < b.abs() { a } else { b }
}

fn is_old(flow: &ServerFlow, now_ns: u64) -> bool {
    let limit_ns = if has_left(flow) { ENDED_NS } else { QUIET_NS };
    now_ns.saturating_sub(flow.last_seen_ns) > limit_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(phase: u8) -> ServerFlow {
        ServerFlow { phase, last_seen_ns: 1000, class: 2, ..ServerFlow::default() }
    }

    #[test]
    fn a_flow_that_ended_is_remembered_while_its_ticket_is_good() {
        let two_epochs_ns = 2 << EPOCH_SHIFT;
        for left in [phase::CLOSED, phase::RELEASED] {
            assert!(!is_old(&flow(left), 1000 + two_epochs_ns));
            assert!(is_old(&flow(left), 1001 + ENDED_NS));
        }
        for open in [phase::WAITING, phase::ANSWERED, phase::RETIRING] {
            assert!(!is_old(&flow(open), 1001 + ENDED_NS));
            assert!(is_old(&flow(open), 1001 + QUIET_NS));
        }
        assert!(!is_old(&flow(phase::CLOSED), 0), "a clock that seems to go back forgets nothing");
    }

    fn tally(flows: &[ServerFlow]) -> (u32, Vec<i64>) {
        let mut tally = Tally { connections: 0, waiting: vec![0; 4] };
        flows.iter().for_each(|flow| tally.add(flow));
        (tally.connections, tally.waiting)
    }

    #[test]
    fn only_flows_that_wait_hold_a_request() {
        let phases = [phase::WAITING, phase::ANSWERED, phase::CLOSED, phase::RETIRING, phase::RELEASED];
        assert_eq!(tally(&phases.map(flow)), (3, vec![0, 0, 1, 0]));
    }

    #[test]
    fn a_flow_that_is_followed_holds_what_is_under_way() {
        let classes = [1, 0, 0, 0, 0, 0, 3, 2];
        let followed = ServerFlow {
            framing: framing::HEAD,
            answered: 254,
            arrived: 1,
            classes,
            ..flow(phase::ANSWERED)
        };
        assert_eq!(tally(&[followed]), (1, vec![0, 1, 1, 1]));
        assert_eq!(under_way(&followed), 3);
        assert_eq!(under_way(&flow(phase::WAITING)), 1);
    }
}

//! Removes filters that have timed out or whose server has lost its sockets, and shows all of them to the census. Goes through
//! the whole table once a second, in batches, and lets the control plane's other work run between them.

use std::{io, sync::Arc, time::Duration};

use dispatcher_common::{
    counter::ControlCounter,
    filter::{Filter, FlowKey, flag, state},
};
use dispatcher_core::config::Timeouts;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval},
};

use super::{
    FilterTable,
    census::{Census, SourceOpen},
    counters::ControlCounters,
    dispatch::Dispatch,
    model::Model,
};
use crate::kernel::{clock, table::Cursor};

/// Time from the beginning of one pass to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// Pause before a pass that is wanted for fresh victims: when there are none, they are wanted again at once.
const LEAST_GAP: Duration = Duration::from_millis(100);

/// Why a filter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Expired,
    Orphaned,
}

/// What the filters of have become useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The server has booted, or its place in the configuration is another's.
    Server(u16),
    /// The number of a data-plane service is another's.
    Service(u16),
}

/// Filters from before a moment are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub what: Lost,
    /// On the kernel's monotonic clock.
    pub before_ns: u64,
}

impl Loss {
    /// As from now.
    #[must_use]
    pub fn now(what: Lost) -> Self {
        Self { what, before_ns: clock::monotonic_ns() }
    }
}

/// When filters end.
#[derive(Debug, Default)]
struct Rules {
    pending_ns: u64,
    established_ns: u64,
    closing_ns: u64,
    answered_ns: u64,
    losses: Vec<Loss>,
}

impl Rules {
    fn new(timeouts: &Timeouts) -> Self {
        let ns = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            pending_ns: ns(timeouts.pending),
            established_ns: ns(timeouts.established),
            closing_ns: ns(timeouts.closing),
            answered_ns: ns(timeouts.answered),
            losses: Vec::new(),
        }
    }

    fn end(&self, key: &FlowKey, filter: &Filter, now_ns: u64) -> Option<End> {
        let timeout_ns = match filter.state {
            state::PENDING => self.pending_ns,
            state::ESTABLISHED => self.established_ns,
            state::ANSWERED => self.answered_ns,
            _ => self.closing_ns,
        };
        if now_ns.saturating_sub(filter.last_seen_ns) > timeout_ns {
            Some(End::Expired)
        } else if self.is_orphan(key, filter) {
            Some(End::Orphaned)
        } else {
            None
        }
    }

    fn is_orphan(&self, key: &FlowKey, filter: &Filter) -> bool {
        let has_server = matches!(filter.state, state::ESTABLISHED | state::CLOSING);
        self.losses.iter().any(|loss| match loss.what {
            Lost::Server(server) => {
                has_server && filter.server == server && there_ns(filter) < loss.before_ns
            }
            Lost::Service(service) => key.service() == service && filter.created_ns < loss.before_ns,
        })
    }
}

/// Since when its server has the connection, as far as the filter tells: one that moved came with its latest hand-off.
fn there_ns(filter: &Filter) -> u64 {
    let is_latest = filter.moves > 0 && filter.flags & flag::FURTHER == 0;
    if is_latest { filter.request_ns.max(filter.created_ns) } else { filter.created_ns }
}

/// The sweeper of the filter-table.
#[derive(Debug)]
pub struct Sweep {
    table: FilterTable,
    counters: Arc<ControlCounters>,
    rules: Rules,
    model: Arc<Model>,
    census: Census,
}

impl Sweep {
    #[must_use]
    pub fn new(
        table: FilterTable,
        counters: Arc<ControlCounters>,
        timeouts: &Timeouts,
        model: Arc<Model>,
        source_open: SourceOpen,
    ) -> Self {
        let census = Census::new(Arc::clone(&model), source_open);
        Self { table, counters, rules: Rules::new(timeouts), model, census }
    }

    /// Sweeps for ever; a pass begins at once when filters are lost.
    pub async fn run(mut self, mut losses: UnboundedReceiver<Loss>) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.model.admission().victims_wanted() => tokio::time::sleep(LEAST_GAP).await,
                Some(loss) = losses.recv() => {
                    self.rules.losses.push(loss);
                    while let Ok(further) = losses.try_recv() {
                        self.rules.losses.push(further);
                    }
                }
            }
            if let Err(error) = self.pass().await {
                tracing::warn!("cannot sweep the filter-table: {error}");
            }
            self.rules.losses.clear();
        }
    }

    async fn pass(&mut self) -> io::Result<()> {
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        self.census.begin();
        while !cursor.is_done() {
            found.clear();
            self.table.scan(&mut cursor, &mut found)?;
            self.end(&found);
            self.census.count(&found, clock::monotonic_ns());
            tokio::task::yield_now().await;
        }
        self.census.finish();
        Ok(())
    }

    fn end(&self, found: &[(FlowKey, Filter)]) {
        let now_ns = clock::monotonic_ns();
        for (key, filter) in found {
            if self.rules.end(key, filter, now_ns).is_none() {
                continue;
            }
            // A packet, or a new connection on the port, may have come since the batch was read.
            let Ok(Some(latest)) = self.table.lookup(key) else { continue };
            let Some(end) = self.rules.end(key, &latest, now_ns) else { continue };
            if matches!(self.table.delete(key), Ok(true)) {
                if latest.state == state::ESTABLISHED {
                    self.model.closed(key.service(), latest.priority);
                }
                self.counters.increment(match end {
                    End::Expired => ControlCounter::FilterExpired,
                    End::Orphaned => ControlCounter::FilterOrphaned,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dispatcher_common::address::Address;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const KEY: FlowKey = FlowKey::new(Address::from_words([0, 0, 0, 1]), 2, 3);

    fn rules() -> Rules {
        Rules::new(&Timeouts {
            pending: Duration::from_secs(5),
            established: Duration::from_secs(900),
            closing: Duration::from_secs(10),
            answered: Duration::from_secs(3),
        })
    }

    fn filter(state: u8, last_seen_ns: u64) -> Filter {
        Filter { state, last_seen_ns, created_ns: 50, server: 1, ..Filter::default() }
    }

    #[test]
    fn each_state_has_its_time_out() {
        for (state, seconds) in
            [(state::PENDING, 5), (state::ESTABLISHED, 900), (state::CLOSING, 10), (state::ANSWERED, 3)]
        {
            let last_seen_ns = 100;
            let end = |now_ns| rules().end(&KEY, &filter(state, last_seen_ns), now_ns);
            assert_eq!(end(last_seen_ns + seconds * SECOND), None, "{}", state::name(state));
            assert_eq!(end(last_seen_ns + seconds * SECOND + 1), Some(End::Expired));
            assert_eq!(end(0), None, "a clock that seems to go back ends nothing");
        }
    }

    #[test]
    fn a_boot_orphans_the_older_filters_of_its_server_only() {
        let mut rules = rules();
        rules.losses.push(Loss { what: Lost::Server(1), before_ns: 51 });
        let end = |filter: Filter| rules.end(&KEY, &filter, 100);
        assert_eq!(end(filter(state::ESTABLISHED, 100)), Some(End::Orphaned));
        assert_eq!(end(filter(state::CLOSING, 100)), Some(End::Orphaned));
        assert_eq!(end(filter(state::PENDING, 100)), None);
        assert_eq!(end(Filter { server: 2, ..filter(state::ESTABLISHED, 100) }), None);
        assert_eq!(end(Filter { created_ns: 51, ..filter(state::ESTABLISHED, 100) }), None);
    }

    #[test]
    fn a_connection_that_came_to_a_server_after_its_boot_stays() {
        let mut rules = rules();
        rules.losses.push(Loss { what: Lost::Server(1), before_ns: 51 });
        let moved = Filter { moves: 1, request_ns: 51, ..filter(state::ESTABLISHED, 100) };
        assert_eq!(rules.end(&KEY, &moved, 100), None);
        for was_there in [
            Filter { request_ns: 50, ..moved },
            Filter { moves: 0, ..moved },
            // The hand-off was an earlier request's.
            Filter { flags: flag::FURTHER, ..moved },
        ] {
            assert_eq!(rules.end(&KEY, &was_there, 100), Some(End::Orphaned), "{was_there:?}");
        }
    }

    #[test]
    fn a_lost_service_orphans_its_filters_in_any_state() {
        let mut rules = rules();
        rules.losses.push(Loss { what: Lost::Service(3), before_ns: 51 });
        assert_eq!(rules.end(&KEY, &filter(state::PENDING, 100), 100), Some(End::Orphaned));
        assert_eq!(
            rules.end(&FlowKey::new(KEY.client, KEY.client_port_be(), 4), &filter(state::PENDING, 100), 100),
            None
        );
    }
}

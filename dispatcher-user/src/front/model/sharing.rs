//! What model and program tell each other: the program's dispatches and counts are learnt as if they had been decided here, and
//! what it chooses by is published. See [`Choices`](crate::front::choice::Choices) for the memory between.

use std::{sync::MutexGuard, time::Duration};

use dispatcher_common::{
    choice::{DispatchRecord, further},
    counter::ControlCounter,
};
use dispatcher_core::{
    cluster::Accepted,
    ids::{ClassId, Priority, ServerId},
    policy::{Choice, Classified, Outcome},
    report::Report,
};

use super::{Model, Service, State};
use crate::{front::choice::Terms, kernel::clock};

/// Shortest time between two looks at what the program counts and dispatches, but for decisions that need to know the last one.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

impl Model {
    /// Reckons every server's load for `now`.
    pub(super) fn advance(&self, state: &mut State, now: Duration) {
        state.cluster.advance(now);
        if now >= state.next_look {
            state.next_look = now + LOOK_PERIOD;
            self.look(state, now);
        }
    }

    /// Takes in what the program has counted and dispatched.
    pub(super) fn look(&self, state: &mut State, now: Duration) {
        for server in (0..self.servers).map(ServerId) {
            state.continued(server, self.kept.fresh(server));
        }
        let (records, lost) = state.choices.drain();
        self.counters.add(ControlCounter::DispatchUnlearnt, lost);
        records.iter().for_each(|record| self.learn(state, record, now));
        state.choices.recycle(records);
    }

    /// Learns of a dispatch as if it had been decided here.
    fn learn(&self, state: &mut State, record: &DispatchRecord, now: Duration) {
        let owner = usize::from(record.owner);
        let Some(Service { config, .. }) = self.services.get(owner) else { return };
        let priority = Priority::new(record.priority).unwrap_or(Priority::HIGHEST);
        let request = Classified { class: ClassId(record.class), priority, target: Some(record.target) };
        let choice = Choice { server: ServerId(record.server), outcome: Outcome::from_code(record.outcome) };
        let view = state.cluster.view(&config.servers);
        state.policies[owner].observed(request, choice, &view, &mut rand::rng());
        state.tally(request.class, choice, record.further != further::NOT);
        if record.further != further::IN_PLACE {
            state.cluster.dispatched(choice.server, request.class, now);
        }
        if record.further == further::NOT {
            self.admission.learnt(owner, priority);
        }
    }

    /// Takes in what the program has dispatched, and publishes all that it chooses by. Call it every few milliseconds.
    pub fn share(&self) {
        let now = self.now();
        let state = &mut *self.lock();
        state.cluster.advance(now);
        state.next_look = now + LOOK_PERIOD;
        self.look(state, now);
        self.publish(state);
    }

    /// The state as of now, for listings.
    pub fn current(&self) -> MutexGuard<'_, State> {
        let now = self.now();
        let mut state = self.lock();
        state.cluster.advance(now);
        self.look(&mut state, now);
        state
    }

    /// Publishes all that the program chooses by.
    pub(super) fn publish(&self, state: &mut State) {
        let State { cluster, policies, overloads, choices, .. } = state;
        let now_us = clock::coarse_us();
        let valid_until_us = now_us + self.valid_for.as_micros() as u64;
        choices.publish_loads(cluster, now_us);
        for (owner, Service { config, classes }) in self.services.iter().enumerate() {
            let servers = cluster.view(&config.servers);
            let load_bound = overloads[owner].as_ref().and_then(|overload| overload.lowest_bound(&servers));
            let policy = policies[owner].as_ref();
            choices.publish_classes(policy, classes.classes());
            choices.publish_service(owner, policy, &Terms { servers, load_bound, valid_until_us });
        }
    }

    /// Publishes what a report has changed.
    pub(super) fn publish_report(&self, state: &mut State, report: &Report, accepted: &Accepted) {
        let all = 0..state.by_class.len() as u16;
        let measured = report.classes.iter().map(|class| class.class).filter(|class| all.contains(class));
        let State { cluster, choices, .. } = state;
        if accepted.rebooted {
            choices.publish_times(cluster, accepted.server, all.clone().map(ClassId));
        } else {
            choices.publish_times(cluster, accepted.server, measured.map(ClassId));
        }
        if accepted.rebooted || accepted.returned {
            self.publish(state);
        } else {
            choices.publish_loads(cluster, clock::coarse_us());
        }
    }
}

impl State {
    /// Counts a decision, whoever made it.
    pub(super) fn tally(&mut self, class: ClassId, choice: Choice, is_further: bool) {
        let tallies = [self.by_server.get_mut(choice.server.index()), self.by_class.get_mut(class.index())];
        tallies.into_iter().flatten().for_each(|tally| tally.count(choice.outcome, is_further));
    }

    /// Counts requests that went to a server without a decision.
    pub(super) fn continued(&mut self, server: ServerId, requests: u64) {
        self.cluster.continued(server, requests);
        if let Some(undecided) = self.undecided.get_mut(server.index()) {
            *undecided += requests;
        }
    }

    /// A request that was decided about here goes to a server: it counts in that one's load, and the program is told at once.
    pub(super) fn add_load(&mut self, class: ClassId, server: ServerId, now: Duration) {
        self.cluster.dispatched(server, class, now);
        let work = self.cluster.service_time(server, class);
        self.choices.dispatched(server, work.as_micros() as u32);
    }

    /// Tells the program at once of what a decision that was made here has changed.
    pub(super) fn tell(&mut self, owner: usize, class: ClassId) {
        let policy = self.policies[owner].as_ref();
        self.choices.publish_classes(policy, [class].into_iter());
        self.choices.publish_turn(owner, policy);
    }
}

//! What the model makes of a request: class, target and priority, and a server for it. First requests are judged by admission, in
//! `model`; further ones of a connection only by the gate, here.

use std::{net::SocketAddr, time::Duration};

use dispatcher_common::counter::ControlCounter;
use dispatcher_core::{
    http::RequestHead,
    ids::ServerId,
    policy::{Choice, Classified, InKernel, Outcome},
};

use super::{Model, Service, State};
use crate::{
    front::dispatch::{Flow, Further, Known, Onward},
    kernel::clock,
};

/// A request that stays where its flow is.
pub(super) fn stay(flow: &Flow) -> Onward {
    Onward { server: flow.server, class: flow.class, priority: flow.priority, known: None }
}

impl Model {
    /// What a request is, and what the class cache may be told of its like.
    pub(super) fn read(
        &self,
        owner: usize,
        client: SocketAddr,
        head: &RequestHead<'_>,
    ) -> (Classified, Option<Known>) {
        let classes = &self.services[owner].classes;
        let table = self.members.current(owner);
        let member = table.classify(client, head, clock::wall_ns() / 1_000_000_000);
        if member.bad_signature.is_some() {
            self.counters.increment(ControlCounter::SignedCookieBad);
        }
        let (class, target) = (classes.classify(head), classes.target(head));
        let known = Known { owner: owner as u8, target, class: class.0 };
        let request = Classified { class, priority: member.priority, target: Some(target) };
        (request, (!table.asks_for_cookies()).then_some(known))
    }

    /// Brings the state to `now`, with what the program has done if the policy needs to know the last of it.
    pub(super) fn look_ahead(&self, state: &mut State, owner: usize, now: Duration) {
        if let InKernel::RoundRobin(_) = state.policies[owner].in_kernel() {
            state.next_look = now;
        }
        self.advance(state, now);
        self.observe_locked(state, owner, now);
    }

    /// Asks the policy.
    pub(super) fn choose(
        &self,
        state: &mut State,
        owner: usize,
        request: Classified,
        now: Duration,
    ) -> Option<Choice> {
        let Service { config, .. } = &self.services[owner];
        let view = state.cluster.view(&config.servers);
        state.policies[owner].choose(request, &view, now, &mut rand::rng())
    }

    /// Judges a further request. It keeps its place among open flows, so there is nobody to make room for it.
    pub(super) fn judge_further(
        &self,
        owner: usize,
        client: SocketAddr,
        head: &RequestHead<'_>,
        flow: &Flow,
    ) -> Further {
        let (request, known) = self.read(owner, client, head);
        let now = self.now();
        let state = &mut *self.lock();
        self.look_ahead(state, owner, now);
        // By the flow's own priority the program has judged it.
        let is_other = request.priority.get() != flow.priority;
        if is_other && request.priority.get() < self.admission.gate(owner) {
            return Further::Refused(self.admission.refusal(owner, request.priority));
        }
        let stays = Choice { server: ServerId(flow.server), outcome: Outcome::Unbound };
        // A connection may be followed since before the configuration changed.
        let may_go = self.services[owner].config.per_request;
        let chosen = if may_go { self.choose(state, owner, request, now) } else { None };
        let has_mac =
            |choice: &Choice| state.entries.get(choice.server.index()).is_some_and(|entry| entry.usable != 0);
        let choice = chosen.filter(has_mac).unwrap_or(stays);
        state.tally(request.class, choice, true);
        if !flow.is_counted || choice.server.0 != flow.server {
            state.add_load(request.class, choice.server, now);
        }
        state.tell(owner, request.class);
        let (class, priority) = (request.class.0, request.priority.get());
        Further::Dispatched(Onward { server: choice.server.0, class, priority, known })
    }
}

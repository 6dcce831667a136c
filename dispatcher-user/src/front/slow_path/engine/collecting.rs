//! The engine's part for heads that span segments: starting, adding, acknowledging, emitting, and what is due by time.

use std::sync::atomic::Ordering;

use dispatcher_common::{
    counter::ControlCounter,
    filter::{Filter, FlowKey, flag, state},
};
use dispatcher_core::http::{Course, Head as Parsed, parse_head};

use super::{
    Arrival, Choice, Chosen, Engine, First, Now, Verdict, is_clear,
    sending::{Sealing, Stamp},
};
use crate::front::slow_path::{
    answer::Answer,
    collect::{Collection, Destination, Due, Full, Head, Sent, Step},
    frame::flags,
    outbox::Outbox,
};

/// How often all queues together look for what is due.
const TICK_NS: u64 = 20_000_000;

/// What is known of a flow whose segment was not collected.
pub(super) struct Known {
    pub(super) filter: Option<Filter>,
    /// Where its collected head went, if that was a moment ago.
    pub(super) sent: Option<Sent>,
}

/// What a parse of a collected head leads to.
enum Outcome {
    Incomplete,
    Dispatched(Chosen, Option<Course>),
    Answered(Answer),
    Reset,
}

impl Engine {
    /// Starts to collect with a first segment that holds no whole head.
    pub(super) fn begin_collecting(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let frame = &arrival.frame;
        if !frame.checksum_holds(bytes) {
            return Verdict::Drop;
        }
        let shared = self.shared.clone();
        let mut collection = shared.collection();
        match collection.begin(arrival.key, arrival.meta, bytes, frame, now.ns) {
            Ok(()) => {
                shared.count(ControlCounter::CollectingStarted);
                self.incomplete(&mut collection, &arrival.key, outbox);
            }
            Err(full) => self.count_full(full),
        }
        shared.collecting.store(collection.len(), Ordering::Release);
        Verdict::Drop
    }

    /// Adds a segment to its flow's head if that is being collected; else says what is known of the flow.
    pub(super) fn known(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<Known, Verdict> {
        if let Some(filter) = self.updates.find(&arrival.key) {
            return Ok(Known { filter: Some(filter), sent: None });
        }
        let mut sent = None;
        if self.shared.is_collecting() {
            let shared = self.shared.clone();
            let mut collection = shared.collection();
            if let Some(head) = collection.find(&arrival.key, &arrival.frame) {
                match head.sent {
                    None => {
                        self.collect(&mut collection, arrival, bytes, now, outbox);
                        shared.collecting.store(collection.len(), Ordering::Release);
                        return Err(Verdict::Drop);
                    }
                    Some(before) => sent = Some(before),
                }
            }
        }
        Ok(Known { filter: self.look_up(&arrival.key), sent })
    }

    fn collect(
        &mut self,
        collection: &mut Collection,
        arrival: &Arrival,
        bytes: &[u8],
        now: Now,
        outbox: &mut Outbox,
    ) {
        // These bytes get a new checksum when they are emitted, which must not vouch for damage.
        if !arrival.frame.checksum_holds(bytes) {
            return;
        }
        if arrival.frame.has(flags::RST) {
            collection.remove(&arrival.key);
            self.forget(&arrival.key);
            return;
        }
        match collection.add(&arrival.key, bytes, &arrival.frame) {
            Ok(Step::Wait) => self.incomplete(collection, &arrival.key, outbox),
            Ok(Step::Parse) => self.judge(collection, arrival, now, outbox),
            Err(full) => self.count_full(full),
        }
    }

    /// Parses what is there of a head and acts on it.
    fn judge(&mut self, collection: &mut Collection, arrival: &Arrival, now: Now, outbox: &mut Outbox) {
        let key = &arrival.key;
        let Some(head) = collection.get_mut(key) else { return };
        match self.parse(arrival.meta.service, head) {
            Outcome::Incomplete => self.incomplete(collection, key, outbox),
            Outcome::Dispatched(Chosen { to, evict_below, .. }, course) => {
                self.make_room(key, evict_below, outbox);
                head.mark_sent(to, course, now.ns);
                self.state_at_hand_off(arrival.meta.service, &to, head.fin_reached());
                let filter = self.emit(head, &to, now, outbox);
                self.count_hand_off(&filter);
                self.updates.push(*key, filter);
            }
            Outcome::Answered(answer) => {
                let mut response = Vec::new();
                answer.write(head.received(), &mut response);
                head.tell_client(flags::ACK | flags::PSH | flags::FIN, &response, outbox);
                self.shared.count(answer.counter());
                let filter =
                    Filter { bytes: head.received().len() as u64, ..filter(head, state::ANSWERED, now) };
                self.updates.push(*key, filter);
                collection.remove(key);
            }
            Outcome::Reset => {
                head.reset_client(outbox);
                self.remove_filter(key);
                self.shared.count(ControlCounter::RequestRefusedReset);
                collection.remove(key);
            }
        }
    }

    fn parse(&self, service: u16, head: &Head) -> Outcome {
        match parse_head(head.received(), self.shared.head_limit) {
            Parsed::Partial => Outcome::Incomplete,
            Parsed::Refused(refusal) => Outcome::Answered(Answer::for_status(refusal.status())),
            Parsed::Complete(request) => match self.shared.choose(service, &head.template.tuple, &request) {
                Choice::To(chosen) => {
                    let course = chosen.course(&request, head.received(), self.shared.head_limit);
                    Outcome::Dispatched(chosen, course)
                }
                Choice::Answer(answer) => Outcome::Answered(answer),
                // Its bytes are acknowledged: silence would be for ever.
                Choice::Reset | Choice::Drop => Outcome::Reset,
            },
        }
    }

    /// Tells the client how far we are, or lets the flow go if the client has no more to say.
    fn incomplete(&mut self, collection: &mut Collection, key: &FlowKey, outbox: &mut Outbox) {
        let Some(head) = collection.get_mut(key) else { return };
        if head.fin_reached() {
            head.reset_client(outbox);
            collection.remove(key);
            self.forget(key);
        } else {
            head.tell_client(flags::ACK, &[], outbox);
            self.shared.count(ControlCounter::CollectingAcked);
        }
    }

    /// Builds the segments of a sent head with a new ticket. Returns the filter to be written after they are sent.
    fn emit(&self, head: &Head, to: &Destination, now: Now, outbox: &mut Outbox) -> Filter {
        let sealing = Sealing {
            tuple: &head.template.tuple,
            options: head.options,
            timestamps: head.template.uses_timestamps(),
            seq: head.handoff_seq,
            ack: head.handoff_ack,
        };
        let stamp =
            Stamp::first(is_clear(head.sent.and_then(|sent| sent.course)), head.template.path(now.ns));
        let words = self.shared.seal(&sealing, to, stamp, now);
        let (packets, bytes) = head.emit(&words, self.shared.mtu, outbox);
        let state = if head.sent.is_some_and(|sent| sent.fin) { state::CLOSING } else { state::ESTABLISHED };
        Filter {
            packets,
            bytes,
            class: to.class,
            server: to.server,
            priority: to.priority,
            ..filter(head, state, now)
        }
    }

    /// Deals with everything that is due, on one queue for all.
    pub(in super::super) fn tick(&mut self, now: Now, outbox: &mut Outbox) {
        let shared = self.shared.clone();
        let last = shared.ticked_ns.load(Ordering::Relaxed);
        let turn = now.ns.saturating_sub(last) >= TICK_NS
            && shared.ticked_ns.compare_exchange(last, now.ns, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !turn || !shared.is_collecting() {
            return;
        }
        let mut collection = shared.collection();
        for (key, due) in collection.due(now.ns) {
            match due {
                Due::TimedOut => self.time_out(&mut collection, &key, outbox),
                Due::Resend => self.resend(&mut collection, &key, now, outbox),
            }
        }
        shared.collecting.store(collection.len(), Ordering::Release);
    }

    fn time_out(&mut self, collection: &mut Collection, key: &FlowKey, outbox: &mut Outbox) {
        let Some(head) = collection.remove(key) else { return };
        match self.look_up(key) {
            // The filter is another connection's by now, and so is the flow.
            Some(filter) if !is_of(&filter, &head) || filter.state != state::PENDING => return,
            Some(_) => self.remove_filter(key),
            None => {}
        }
        head.reset_client(outbox);
        self.shared.count(ControlCounter::HeadTimeout);
    }

    fn resend(&mut self, collection: &mut Collection, key: &FlowKey, now: Now, outbox: &mut Outbox) {
        let filter = self.look_up(key);
        let head = collection.get_mut(key);
        let again = filter.zip(head).and_then(|(filter, head)| {
            let to = self.still_wanted(&filter, head, now)?;
            Some((filter, self.emit(head, &to, now, outbox)))
        });
        match again {
            Some((before, flipped)) => {
                // An established filter counts packets meanwhile; only one whose flip failed is written.
                if before.state == state::PENDING {
                    self.updates.push(*key, flipped);
                }
                self.shared.count(ControlCounter::CollectedResent);
            }
            None => {
                collection.remove(key);
            }
        }
    }

    /// Where a head must be sent again, if it must.
    fn still_wanted(&self, filter: &Filter, head: &mut Head, now: Now) -> Option<Destination> {
        let to = head.sent?.to;
        let entry = self.shared.usable_server(to.server).unwrap_or(to.entry);
        let again = wants_resend(filter, head) && head.mark_resent(entry, now.ns);
        again.then_some(Destination { entry, ..to })
    }

    fn count_full(&self, full: Full) {
        self.shared.count(match full {
            Full::Flows => ControlCounter::CollectFlowsFull,
            Full::Memory => ControlCounter::CollectMemoryFull,
        });
    }
}

fn filter(head: &Head, state: u8, now: Now) -> Filter {
    let first = First {
        seq: head.handoff_seq,
        ack: head.handoff_ack,
        len: head.received().len(),
        options: head.options.0,
        client_mac: head.template.client_mac(),
        course: head.sent.and_then(|sent| sent.course),
    };
    first.filter(state, now)
}

/// Whether a filter is of the connection that a head was collected from.
fn is_of(filter: &Filter, head: &Head) -> bool {
    filter.handoff_seq == head.handoff_seq && filter.handoff_ack == head.handoff_ack
}

/// A response has not begun, and the client has not closed since. A filter that is still pending was not flipped yet.
fn wants_resend(filter: &Filter, head: &Head) -> bool {
    let alive = match filter.state {
        state::PENDING | state::ESTABLISHED => true,
        state::CLOSING => head.sent.is_some_and(|sent| sent.fin),
        _ => false,
    };
    let has_response = filter.response_ns != 0 || filter.flags & flag::RESPONDED != 0;
    alive && is_of(filter, head) && !has_response
}

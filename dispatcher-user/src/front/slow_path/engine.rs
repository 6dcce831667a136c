//! What becomes of each frame that the kernel's program gave to the slow path: parsed, given to a server with a ticket,
//! collected, answered or dropped. No sockets here: frames go in, edited or built frames come out, and filters are flipped
//! after the caller has sent them, or a second segment would overtake the ticket.

mod admission;
mod collecting;
mod following;
mod further;
mod progress;
mod sending;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dispatcher_common::{
    counter::ControlCounter,
    epoch::Epoch,
    filter::{Filter, FlowKey, opaque, state},
    path_state::PathState,
    server::ServerEntry,
    siphash::SipKey,
    slow_path::{META_LEN, SlowPathMeta, kind},
    syn_options::SynOptions,
    tuple::Tuple,
};
use dispatcher_core::{
    admission::Way,
    http::{Course, Head as Parsed, RequestHead, parse_head},
};

use sending::Stamp;

use super::{
    answer::Answer,
    class_cache::{ClassCache, Found},
    collect::{Collection, Destination, Limits, window},
    frame::{self, Frame, ROOM, flags, source_mac},
    merge::{Failed, Settled},
    outbox::{Outbox, Side},
    template::{Segment, Template},
    updates::Updates,
};
use crate::front::{
    FilterTable,
    counters::ControlCounters,
    dispatch::{Decision, Dispatch, Judgement, Known, Refusal},
};

/// The filter-table as the engine needs it.
pub(super) trait Filters: Send + Sync {
    fn lookup(&self, key: &FlowKey) -> io::Result<Option<Filter>>;
    /// Returns how many could not be written.
    fn update_batch(&self, keys: &[FlowKey], filters: &[Filter]) -> usize;
    fn delete(&self, key: &FlowKey) -> io::Result<bool>;
}

impl Filters for FilterTable {
    fn lookup(&self, key: &FlowKey) -> io::Result<Option<Filter>> {
        Self::lookup(self, key)
    }

    fn update_batch(&self, keys: &[FlowKey], filters: &[Filter]) -> usize {
        Self::update_batch(self, keys, filters)
    }

    fn delete(&self, key: &FlowKey) -> io::Result<bool> {
        Self::delete(self, key)
    }
}

/// The time of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The kernel's coarse monotonic clock.
    pub(super) ns: u64,
    pub(super) epoch: Epoch,
}

/// The clients' side of the link layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Longest frame above Ethernet.
    pub(super) mtu: usize,
    /// Our address.
    pub(super) mac: [u8; 6],
}

/// Where the engines write.
pub(super) struct Tables {
    pub(super) filters: Arc<dyn Filters>,
    /// `None` when it is off.
    pub(super) class_cache: Option<ClassCache>,
}

/// What the engines of all queues share: a flow may change its queue.
pub(super) struct Shared {
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) filters: Arc<dyn Filters>,
    class_cache: Option<ClassCache>,
    pub(super) counters: Arc<ControlCounters>,
    ticket_key: SipKey,
    /// Longest frame above Ethernet.
    mtu: usize,
    /// Our link-layer address on the clients' side.
    mac: [u8; 6],
    head_limit: usize,
    /// Touched only for heads that span segments.
    collection: Mutex<Collection>,
    /// Heads in the collection, readable without its lock.
    collecting: AtomicUsize,
    /// When a queue last looked for what is due.
    ticked_ns: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        dispatch: Arc<dyn Dispatch>,
        tables: Tables,
        counters: Arc<ControlCounters>,
        ticket_key: SipKey,
        link: Link,
        limits: Limits,
    ) -> Self {
        Self {
            dispatch,
            filters: tables.filters,
            class_cache: tables.class_cache,
            counters,
            ticket_key,
            mtu: link.mtu,
            mac: link.mac,
            head_limit: limits.head_limit,
            collection: Mutex::new(Collection::new(limits)),
            collecting: AtomicUsize::new(0),
            ticked_ns: AtomicU64::new(0),
        }
    }

    fn count(&self, counter: ControlCounter) {
        self.counters.increment(counter);
    }

    fn collection(&self) -> MutexGuard<'_, Collection> {
        self.collection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_collecting(&self) -> bool {
        self.collecting.load(Ordering::Acquire) > 0
    }

    /// What becomes of a request.
    fn choose(&self, service: u16, tuple: &Tuple, head: &RequestHead<'_>) -> Choice {
        let client = SocketAddr::new(tuple.client.into(), u16::from_be(tuple.client_port_be));
        match self.dispatch.dispatch(service, client, head) {
            Judgement::Dispatched(Decision {
                server,
                class,
                priority,
                entry,
                evict_below,
                known,
                per_request,
            }) => {
                if entry.usable != 0 {
                    let to = Destination { server, class, priority, entry };
                    Choice::To(Chosen { to, evict_below, known, per_request })
                } else {
                    self.dispatch.closed(service, priority);
                    Choice::Answer(Answer::NoServer)
                }
            }
            Judgement::Refused(Refusal { way: Way::Respond, retry_after }) => {
                Choice::Answer(Answer::Overloaded { retry_after })
            }
            Judgement::Refused(Refusal { way: Way::Reset, .. }) => Choice::Reset,
            Judgement::Refused(Refusal { way: Way::Drop, .. }) => Choice::Drop,
            Judgement::NoServer => Choice::Answer(Answer::NoServer),
        }
    }

    fn usable_server(&self, server: u16) -> Option<ServerEntry> {
        self.dispatch.server(server).filter(|entry| entry.usable != 0)
    }

    /// Counts what a written filter has become: a flow that ended, or an open one of another priority. Tells whether it was written.
    fn settle(&self, written: Result<Option<Settled>, Failed>) -> bool {
        match written {
            Ok(Some(settled)) => self.count_change(&settled),
            Ok(None) => return false,
            Err(Failed) => {
                self.count(ControlCounter::FilterUpdateFailed);
                return false;
            }
        }
        true
    }

    fn count_change(&self, Settled { key, before, after }: &Settled) {
        if before.state != state::ESTABLISHED {
            return;
        }
        if after.state != state::ESTABLISHED {
            self.dispatch.closed(key.service(), before.priority);
        } else if after.priority != before.priority {
            self.dispatch.reprioritised(key.service(), before.priority, after.priority);
        }
    }
}

/// What becomes of a first request.
enum Choice {
    To(Chosen),
    Answer(Answer),
    Reset,
    Drop,
}

/// Where a first request goes.
struct Chosen {
    to: Destination,
    /// In the place of a flow below this priority.
    evict_below: Option<u8>,
    /// What the class cache may be told.
    known: Option<Known>,
    per_request: bool,
}

impl Chosen {
    /// How the connection goes on, if that matters. `bytes` are all of it that go to the server now.
    fn course(&self, head: &RequestHead<'_>, bytes: &[u8], head_limit: usize) -> Option<Course> {
        self.per_request.then(|| Course::of(head, bytes, head_limit))
    }
}

/// What the caller does with a frame that it gave in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send these bytes of the buffer to the server side.
    Send {
        start: usize,
        end: usize,
    },
    Drop,
}

/// A frame with what the kernel's program said about it.
struct Arrival {
    meta: SlowPathMeta,
    frame: Frame,
    key: FlowKey,
    client_mac: [u8; 6],
}

impl Arrival {
    fn read(buffer: &[u8]) -> Option<Self> {
        let (room, bytes) = buffer.split_at_checked(ROOM)?;
        let meta = &room[ROOM - META_LEN..];
        let word = |at: usize| u16::from_ne_bytes([meta[at], meta[at + 1]]);
        let meta = SlowPathMeta {
            kind: meta[0],
            options: meta[1],
            service: word(2),
            server: word(4),
            class: word(6),
        };
        let frame = Frame::parse(bytes)?;
        let key = FlowKey::new(frame.tuple.client, frame.tuple.client_port_be, meta.service);
        Some(Self { meta, frame, key, client_mac: source_mac(bytes) })
    }

    /// The filter of this flow once its first segment is dealt with.
    fn filter(&self, state: u8, course: Option<Course>, now: Now) -> Filter {
        let frame = &self.frame;
        let first = First {
            seq: frame.seq,
            ack: frame.ack,
            len: frame.payload_len(),
            options: self.meta.options,
            client_mac: self.client_mac,
            course,
        };
        Filter { bytes: frame.end as u64, ..first.filter(state, now) }
    }
}

/// What a new filter knows of its flow's first request.
struct First {
    seq: u32,
    ack: u32,
    /// Bytes of it that are there.
    len: usize,
    options: u8,
    client_mac: [u8; 6],
    /// How the connection goes on, where it is followed.
    course: Option<Course>,
}

impl First {
    fn filter(&self, state: u8, now: Now) -> Filter {
        let mut filter = Filter {
            created_ns: now.ns,
            last_seen_ns: now.ns,
            request_ns: now.ns,
            packets: 1,
            handoff_seq: self.seq,
            handoff_ack: self.ack,
            first_seq: self.seq,
            request_ack: self.ack,
            last_ack: self.ack,
            next_seq: self.seq.wrapping_add(self.len as u32),
            requests: self.course.map_or(1, |course| course.requests),
            state,
            options: self.options,
            client_mac: self.client_mac,
            ..Filter::default()
        };
        if let Some(course) = self.course {
            following::set_next(&mut filter, self.seq, course.next);
        }
        filter
    }
}

/// Whether it is known where the next request after a first one may start.
fn is_clear(course: Option<Course>) -> bool {
    course.is_some_and(|course| course.next.is_ok())
}

/// Whether a flow with this filter has a server.
fn is_handed_off(filter: &Filter) -> bool {
    matches!(filter.state, state::ESTABLISHED | state::CLOSING)
}

/// One queue's engine.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    /// Filters of new flows, to be written once this batch's frames are sent.
    updates: Updates,
    /// Classes to be put into the class cache then.
    found: Found,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, updates: Updates::default(), found: Found::default() }
    }

    /// Deals with one frame. `buffer` is [`ROOM`] bytes, the last of them the metadata, and the frame. Built frames go to
    /// `outbox`, before the frame itself if that is sent.
    pub(super) fn handle(&mut self, buffer: &mut [u8], now: Now, outbox: &mut Outbox) -> Verdict {
        let Some(arrival) = Arrival::read(buffer) else { return Verdict::Drop };
        match arrival.meta.kind {
            kind::FIRST => self.decide(&arrival, buffer, now, outbox),
            kind::AGAIN => self.again(&arrival, buffer, now, outbox),
            kind::LATER => self.later(&arrival, buffer, now, outbox),
            kind::RETICKET | kind::FURTHER_AGAIN => self.reticket(&arrival, buffer, now),
            kind::FURTHER => self.further(&arrival, buffer, now, outbox),
            kind::BEHIND => self.behind(&arrival, buffer, now, outbox),
            kind::KEPT => self.refuse_kept(&arrival, &buffer[ROOM..], now, outbox),
            _ => Verdict::Drop,
        }
    }

    /// Writes the filters of new flows whose frames were sent, and what requests have shown of classes.
    pub(super) fn flush(&mut self) {
        self.take_acks_along();
        let failed = self.updates.write(&*self.shared.filters) as u64;
        self.shared.counters.add(ControlCounter::FilterUpdateFailed, failed);
        if let Some(cache) = &self.shared.class_cache {
            let written = self.found.write(cache);
            self.shared.counters.add(ControlCounter::ClassCached, written.done);
            self.shared.counters.add(ControlCounter::ClassCacheFailed, written.failed);
        }
    }

    /// Takes along what clients have acknowledged while their filters were pending, as the program has noted it there.
    fn take_acks_along(&mut self) {
        let shared = &self.shared;
        for (key, filter) in self.updates.iter_mut().filter(|(_, filter)| is_handed_off(filter)) {
            let pending = shared.filters.lookup(key).ok().flatten();
            if let Some(pending) = pending
                && pending.state == state::PENDING
                && let Some(wait) = progress::take_ack(filter, &pending)
            {
                shared.dispatch.answered(key.service(), filter.priority, wait);
            }
        }
    }

    /// Notes what a request has shown, for the class cache.
    fn remember(&mut self, payload: &[u8], known: Option<Known>, now: Now) {
        if let (Some(cache), Some(known)) = (&self.shared.class_cache, known) {
            self.found.note(cache, payload, self.shared.head_limit, &known, now.ns);
        }
    }

    fn decide(&mut self, arrival: &Arrival, buffer: &mut [u8], now: Now, outbox: &mut Outbox) -> Verdict {
        let frame = &arrival.frame;
        let payload = &buffer[ROOM + frame.payload..ROOM + frame.end];
        let answer = match parse_head(payload, self.shared.head_limit) {
            Parsed::Complete(head) => match self.shared.choose(arrival.meta.service, &frame.tuple, &head) {
                Choice::To(chosen) => {
                    let course = chosen.course(&head, payload, self.shared.head_limit);
                    self.remember(payload, chosen.known, now);
                    self.make_room(&arrival.key, chosen.evict_below, outbox);
                    return self.hand_off(arrival, &chosen.to, course, buffer, now);
                }
                Choice::Answer(answer) => answer,
                Choice::Reset => return self.refuse_with_reset(arrival, &buffer[ROOM..], outbox),
                Choice::Drop => return self.refuse_in_silence(Some(&arrival.key)),
            },
            Parsed::Partial => return self.begin_collecting(arrival, &buffer[ROOM..], now, outbox),
            Parsed::Refused(refusal) => Answer::for_status(refusal.status()),
        };
        self.answer(arrival, &buffer[ROOM..], answer, now, outbox)
    }

    /// The quick way: the same frame goes to its server with a ticket.
    fn hand_off(
        &mut self,
        arrival: &Arrival,
        to: &Destination,
        course: Option<Course>,
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        let stamp = Stamp::first(is_clear(course), frame::path(arrival.frame.timestamps, now.ns));
        let verdict = self.send_with_ticket(arrival, to, stamp, buffer, now);
        if verdict == Verdict::Drop {
            self.shared.dispatch.closed(arrival.meta.service, to.priority);
            return verdict;
        }
        let state = self.state_at_hand_off(arrival.meta.service, to, arrival.frame.has(flags::FIN));
        let filter = Filter {
            class: to.class,
            server: to.server,
            priority: to.priority,
            ..arrival.filter(state, course, now)
        };
        self.count_hand_off(&filter);
        self.updates.push(arrival.key, filter);
        verdict
    }

    /// Counts a request that is handed off, and those behind it.
    fn count_hand_off(&self, filter: &Filter) {
        self.shared.count(ControlCounter::Dispatched);
        self.count_opaque(opaque::NOT, filter.opaque);
        self.count_more(filter.server, filter.requests.saturating_sub(1));
    }

    /// A flow whose client has closed its side already does not count as open.
    fn state_at_hand_off(&self, service: u16, to: &Destination, fin: bool) -> u8 {
        if !fin {
            return state::ESTABLISHED;
        }
        self.shared.dispatch.closed(service, to.priority);
        state::CLOSING
    }

    /// The first segment again, while the kernel's program saw a pending filter.
    fn again(&mut self, arrival: &Arrival, buffer: &mut [u8], now: Now, outbox: &mut Outbox) -> Verdict {
        let known = match self.known(arrival, &buffer[ROOM..], now, outbox) {
            Ok(known) => known,
            Err(verdict) => return verdict,
        };
        let counter = ControlCounter::LaterForwarded;
        match known.filter {
            Some(filter) if is_handed_off(&filter) && filter.handoff_seq == arrival.frame.seq => {
                self.send_as_latest(arrival, &filter, [counter, counter], buffer, now)
            }
            Some(Filter { state: state::PENDING, .. }) => match known.sent {
                Some(sent) => {
                    let stamp = Stamp::first(is_clear(sent.course), PathState::UNKNOWN);
                    self.send_again(arrival, &sent.to, stamp, counter, buffer, now)
                }
                None => self.decide(arrival, buffer, now, outbox),
            },
            Some(Filter { state: state::ANSWERED, .. }) => Verdict::Drop,
            _ => self.lost(),
        }
    }

    /// Another segment of a flow whose filter was pending when it came.
    fn later(&mut self, arrival: &Arrival, buffer: &mut [u8], now: Now, outbox: &mut Outbox) -> Verdict {
        let known = match self.known(arrival, &buffer[ROOM..], now, outbox) {
            Ok(known) => known,
            Err(verdict) => return verdict,
        };
        match (known.filter, known.sent) {
            (Some(filter), _) if is_handed_off(&filter) => {
                if self.updates.find(&arrival.key).is_none()
                    && following::starts_request(&filter, &arrival.frame)
                {
                    return self.further(arrival, buffer, now, outbox);
                }
                let frame = &arrival.frame;
                self.note(arrival, filter, &buffer[ROOM + frame.payload..ROOM + frame.end], now);
                self.forward(arrival, filter.server, ControlCounter::LaterForwarded, buffer)
            }
            (Some(Filter { state: state::PENDING, .. }), Some(sent)) => {
                self.forward(arrival, sent.to.server, ControlCounter::LaterForwarded, buffer)
            }
            (Some(Filter { state: state::PENDING, .. }), None) if arrival.frame.has(flags::RST) => {
                self.forget(&arrival.key);
                Verdict::Drop
            }
            (Some(Filter { state: state::ANSWERED, .. }), _) => Verdict::Drop,
            _ => self.lost(),
        }
    }

    /// What the kernel's program does for a segment that it forwards itself.
    fn note(&mut self, arrival: &Arrival, filter: Filter, payload: &[u8], now: Now) {
        let (service, priority) = (arrival.key.service(), filter.priority);
        let mut noted = filter;
        let head_limit = self.shared.head_limit;
        let wait = progress::note(&mut noted, &arrival.frame, payload, head_limit, now.ns);
        let closes = arrival.frame.has(flags::FIN | flags::RST) && filter.state == state::ESTABLISHED;
        if closes {
            noted.state = state::CLOSING;
        }
        if self.updates.find(&arrival.key).is_none() {
            let is_last = following::ends_there(&filter, &arrival.frame);
            if self.rewrite(arrival, &filter, &noted, is_last) {
                self.count_answered(arrival, &filter, wait);
            }
            return;
        }
        self.count_answered(arrival, &filter, wait);
        if closes {
            self.shared.dispatch.closed(service, priority);
        }
        self.count_opaque(filter.opaque, noted.opaque);
        self.updates.push(arrival.key, noted);
    }

    fn answer(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        answer: Answer,
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let frame = &arrival.frame;
        if !frame.checksum_holds(bytes) {
            return Verdict::Drop;
        }
        let request = &bytes[frame.payload..frame.end];
        let mut response = Vec::new();
        answer.write(request, &mut response);
        let received = request.len() as u32 + u32::from(frame.has(flags::FIN));
        let segment = Segment {
            seq: frame.ack,
            ack: frame.seq.wrapping_add(received),
            flags: flags::ACK | flags::PSH | flags::FIN,
            payload: &response,
        };
        let window = window(SynOptions(arrival.meta.options));
        outbox.build(Side::Client, |out| {
            Template::new(bytes, frame).to_client(out, &segment, window);
        });
        self.shared.count(answer.counter());
        self.updates.push(arrival.key, arrival.filter(state::ANSWERED, None, now));
        Verdict::Drop
    }

    /// The flow's filter: as this batch leaves it, else as it stands in the map.
    fn look_up(&self, key: &FlowKey) -> Option<Filter> {
        self.updates.find(key).or_else(|| self.shared.filters.lookup(key).ok().flatten())
    }

    /// Takes the filter of a flow away whose client is gone.
    fn forget(&mut self, key: &FlowKey) {
        self.shared.count(ControlCounter::ClientGone);
        self.remove_filter(key);
    }

    fn remove_filter(&mut self, key: &FlowKey) {
        self.updates.remove(key);
        if self.shared.filters.delete(key).is_err() {
            self.shared.count(ControlCounter::FilterUpdateFailed);
        }
    }

    fn unsendable(&self) -> Verdict {
        self.shared.count(ControlCounter::TransmitFailed);
        Verdict::Drop
    }

    fn lost(&self) -> Verdict {
        self.shared.count(ControlCounter::PendingLost);
        Verdict::Drop
    }
}

//! The engine's part for further requests of a connection. The kernel's program gives them here when it does not know their class or
//! may not choose, and all data behind them until the filter says where the next one may start.

use std::{net::SocketAddr, time::Duration};

use dispatcher_common::{
    counter::ControlCounter,
    filter::{Filter, flag, opaque, state},
    per_request::{is_counted, is_settled},
};
use dispatcher_core::http::{Course, Head as Parsed, parse_head};

use super::{Arrival, Engine, Now, Verdict, following, is_handed_off, progress, sending::Stamp};
use crate::front::{
    dispatch::{Flow, Further, Onward},
    slow_path::{
        collect::Destination,
        frame::{ROOM, flags},
        merge,
        outbox::Outbox,
    },
};

/// A further request, parsed.
struct Request {
    judgement: Further,
    course: Course,
}

impl Engine {
    /// A request at the place where the flow's next one starts.
    pub(super) fn further(
        &mut self,
        arrival: &Arrival,
        buffer: &mut [u8],
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some(before) = self.look_up(&arrival.key).filter(is_handed_off) else { return self.lost() };
        let frame = &arrival.frame;
        if !following::starts_request(&before, frame) {
            return self.dealt_with(arrival, &before, buffer, now);
        }
        let Some(entry) = self.shared.usable_server(before.server) else { return self.unsendable() };
        let (noted, wait) = progress::with_ack(before, frame, now.ns);
        let payload = &buffer[ROOM + frame.payload..ROOM + frame.end];
        // One that is sent before the latest has a response goes without a ticket, which would take the place of that one's.
        if !is_settled(&noted) || !self.shared.takes_ticket(frame) {
            self.go_along(arrival, &before, payload, now);
            return self.forward(arrival, before.server, ControlCounter::FurtherForwarded, buffer);
        }
        self.count_answered(arrival, &before, wait);
        let request = self.judge_further(arrival, &noted, payload, now);
        match request.judgement {
            Further::Dispatched(onward) => {
                let Onward { server, class, priority, .. } = onward;
                let to = Destination { server, class, priority, entry };
                let after = following::onward(&noted, frame, &onward, &request.course, now.ns);
                self.send_further(arrival, &before, &after, &to, buffer, now)
            }
            Further::Refused(refusal) => {
                self.refuse_request(arrival, &buffer[ROOM..], &before, refusal, now, outbox)
            }
        }
    }

    /// A request that comes again, after it was dealt with.
    fn dealt_with(&self, arrival: &Arrival, filter: &Filter, buffer: &mut [u8], now: Now) -> Verdict {
        let counters = [ControlCounter::Reticketed, ControlCounter::FurtherForwarded];
        self.send_as_latest(arrival, filter, counters, buffer, now)
    }

    /// What cannot be understood stays, for its server to answer; nobody decides about it.
    fn judge_further(&mut self, arrival: &Arrival, filter: &Filter, payload: &[u8], now: Now) -> Request {
        let flow = Flow {
            server: filter.server,
            class: filter.class,
            priority: filter.priority,
            is_counted: is_counted(filter, now.ns),
        };
        let head_limit = self.shared.head_limit;
        let Parsed::Complete(head) = parse_head(payload, head_limit) else {
            let Flow { server, class, priority, .. } = flow;
            self.count_more(server, 1);
            let stays = Onward { server, class, priority, known: None };
            let course = Course::read(payload, head_limit);
            return Request { judgement: Further::Dispatched(stays), course };
        };
        let tuple = &arrival.frame.tuple;
        let client = SocketAddr::new(tuple.client.into(), u16::from_be(tuple.client_port_be));
        let judgement = self.shared.dispatch.further(arrival.meta.service, client, &head, &flow);
        let course = Course::of(&head, payload, head_limit);
        if let Further::Dispatched(Onward { known, .. }) = judgement
            && course.is_one_of(payload.len())
        {
            self.remember(payload, known, now);
        }
        Request { judgement, course }
    }

    /// To the server that has the connection, with a ticket that names the one that is to answer. Only if the filter says so: nobody
    /// would take the connection that a server releases for another ticket.
    fn send_further(
        &mut self,
        arrival: &Arrival,
        before: &Filter,
        after: &Filter,
        to: &Destination,
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        // Those behind it in the segment are nobody's decision.
        self.count_more(before.server, after.requests.wrapping_sub(before.requests).saturating_sub(1));
        if !self.rewrite(arrival, before, after, true) {
            return match self.look_up(&arrival.key).filter(is_handed_off) {
                Some(latest) => self.dealt_with(arrival, &latest, buffer, now),
                None => self.lost(),
            };
        }
        let stays = to.server == before.server;
        self.shared.count(if stays { ControlCounter::FurtherStayed } else { ControlCounter::FurtherMoving });
        if after.kept_busy != before.kept_busy {
            self.shared.count(ControlCounter::MoveKeptBusy);
        }
        self.send_with_ticket(arrival, to, Stamp::latest(after), buffer, now)
    }

    /// Data behind a request that was with the slow path when it came. While that still is, on another queue, nothing is noted; nor
    /// is a request once the program follows the flow again, but for one that gets a ticket.
    pub(super) fn behind(
        &mut self,
        arrival: &Arrival,
        buffer: &mut [u8],
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some(before) = self.look_up(&arrival.key).filter(is_handed_off) else { return self.lost() };
        if before.flags & flag::ASKED == 0 {
            let frame = &arrival.frame;
            let (noted, _) = progress::with_ack(before, frame, now.ns);
            if is_settled(&noted) && following::starts_request(&before, frame) {
                return self.further(arrival, buffer, now, outbox);
            }
            self.go_along(arrival, &before, &buffer[ROOM + frame.payload..ROOM + frame.end], now);
        }
        self.forward(arrival, before.server, ControlCounter::BehindForwarded, buffer)
    }

    /// Notes data that goes to its server as it is. Packets and bytes the kernel's program has counted.
    fn go_along(&self, arrival: &Arrival, before: &Filter, payload: &[u8], now: Now) {
        let frame = &arrival.frame;
        let (mut after, wait) = progress::with_ack(*before, frame, now.ns);
        if after.flags & flag::ASKED != 0 {
            after.flags = after.flags & !flag::ASKED | flag::FOLLOWED;
        }
        progress::note_data(&mut after, frame, payload, self.shared.head_limit, now.ns);
        self.count_more(before.server, after.requests.wrapping_sub(before.requests));
        if frame.has(flags::FIN | flags::RST) && after.state == state::ESTABLISHED {
            after.state = state::CLOSING;
        }
        if self.rewrite(arrival, before, &after, following::ends_there(before, frame)) {
            self.count_answered(arrival, before, wait);
        }
    }

    /// Counts how long a request has waited, if a frame shows that its client has the first of the response.
    pub(super) fn count_answered(&self, arrival: &Arrival, filter: &Filter, wait: Option<Duration>) {
        if let Some(wait) = wait {
            self.shared.dispatch.answered(arrival.key.service(), filter.priority, wait);
        }
    }

    /// Writes a filter before its frame is sent; see [`merge::write`]. Tells whether it was written.
    pub(super) fn rewrite(&self, arrival: &Arrival, before: &Filter, after: &Filter, is_last: bool) -> bool {
        let shared = &self.shared;
        let is_written = shared.settle(merge::write(&*shared.filters, arrival.key, before, after, is_last));
        if is_written {
            self.count_opaque(before.opaque, after.opaque);
        }
        is_written
    }

    /// Counts requests that nobody decides about.
    pub(super) fn count_more(&self, server: u16, requests: u32) {
        if requests > 0 {
            self.shared.dispatch.continued(server, requests);
        }
    }

    /// Counts a flow that is not followed any more.
    pub(super) fn count_opaque(&self, before: u8, after: u8) {
        let counter = match after {
            same if same == before => return,
            opaque::CHUNKED => ControlCounter::OpaqueChunked,
            opaque::UPGRADE => ControlCounter::OpaqueUpgrade,
            opaque::EXPECT => ControlCounter::OpaqueExpect,
            opaque::SPLIT => ControlCounter::OpaqueSplit,
            opaque::STRADDLED => ControlCounter::OpaqueStraddled,
            opaque::LONG_BODY => ControlCounter::OpaqueLongBody,
            _ => ControlCounter::OpaqueMalformed,
        };
        self.shared.count(counter);
    }
}

//! The front-end's slow path: takes frames one by one, some time after the program gave them away. The filter of a new connection is
//! written after its hand-off was sent, as no segment may overtake that; the filter of a further request before it is sent, as the
//! server may release the connection at once.

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request::{Data, data_of, needs_ticket},
    slow_path::kind,
    ticket::KIND_HAND_OFF,
};

use super::{
    FrontEnd,
    further::{
        choose_ticket, forward, make_opaque, note_ack, note_data, note_request, repeat, send_with_ticket,
        with_ticket,
    },
};
use crate::{
    network::Link,
    segment::{Segment, Survey, survey},
    world::{Context, Event},
};

/// A filter that is to be written.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// Of a first request that was handed off.
    Insert(Filter),
    /// Of a further request that is to be sent then.
    Further(Box<Further>),
}

/// What was decided of a further request.
#[derive(Clone, Debug)]
pub(super) struct Further {
    segment: Segment,
    chosen: u16,
    /// The filter as it was read.
    read: Filter,
}

impl FrontEnd {
    /// Takes the next frame.
    pub(crate) fn slow_path(&mut self, ctx: &mut Context) {
        self.finish_writing(ctx);
        let Some((kind, segment)) = self.queue.pop_front() else { return };
        let Some(filter) = self.filter else { return };
        match kind {
            kind::FIRST | kind::AGAIN => self.first(filter, segment, ctx),
            kind::LATER => self.later(filter, segment, ctx),
            kind::FURTHER => self.further(filter, segment, ctx),
            _ => self.behind(filter, segment, ctx),
        }
    }

    fn first(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if segment.seq != filter.handoff_seq {
            return;
        }
        let known = self.sent_first().or_else(|| (filter.state != state::PENDING).then_some(filter));
        if let Some(known) = known {
            if known.handoff_ack == segment.acknowledged() {
                send_with_ticket(&known, segment, KIND_HAND_OFF, known.server, 0, ctx);
            }
            return;
        }
        let server = self.choose(ctx);
        let state = if segment.fin { state::CLOSING } else { state::ESTABLISHED };
        let filter = self.first_filter(&segment, server, state);
        send_with_ticket(&filter, segment, KIND_HAND_OFF, server, 0, ctx);
        self.update(Update::Insert(filter), ctx);
    }

    /// The filter of a first request that was sent and is not written yet.
    fn sent_first(&self) -> Option<Filter> {
        self.updates.iter().find_map(|update| match update {
            Update::Insert(filter) => Some(*filter),
            Update::Further(_) => None,
        })
    }

    fn later(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        let to = self.sent_first().or_else(|| (filter.state != state::PENDING).then_some(filter));
        if let Some(to) = to {
            forward(&to, segment, ctx);
        }
    }

    fn further(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if filter.flags & flag::ASKED == 0 || filter.boundary != segment.seq {
            return self.go_along(segment, ctx);
        }
        let is_understood =
            segment.data.first().is_some_and(|byte| usize::from(byte.head) <= segment.data.len());
        // Even then with a ticket: an earlier copy may have been understood, and have made the server release the connection.
        let chosen = if is_understood { self.choose(ctx) } else { filter.server };
        if self.sends_first {
            let (frame, noted) = (segment.clone(), acknowledged(filter, &segment));
            let ticket = choose_ticket(&noted, chosen, ctx.mutation);
            self.send_later(filter.server, with_ticket(&noted, frame, ticket), ctx);
        }
        self.updates.push(Update::Further(Box::new(Further { segment, chosen, read: filter })));
        let delay = ctx.random.between(0, 1) * ctx.random.between(0, self.slow_ticks);
        ctx.after(delay, Event::Flush);
    }

    /// Data behind a request that is, or was, with the slow path.
    fn behind(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if filter.flags & flag::ASKED != 0 {
            return self.send_later(filter.server, segment, ctx);
        }
        self.go_along(segment, ctx);
    }

    /// Data that nobody is asked about any more: sent as the program would, but without asking.
    fn go_along(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        note_ack(filter, &segment);
        if needs_ticket(filter, segment.seq, segment.acknowledged()) {
            return repeat(filter, segment, ctx);
        }
        match data_of(filter, segment.seq, segment.end()) {
            Data::Request => {
                let Survey { requests, next } = survey(&segment.data);
                let boundary = next.map(|offset| segment.seq.wrapping_add(offset));
                note_request(filter, &segment, None, requests, boundary, ctx);
            }
            Data::Straddles => make_opaque(filter, opaque::STRADDLED, ctx),
            Data::Plain | Data::Again | Data::Behind => {}
        }
        note_data(filter, &segment);
        let server = filter.server;
        self.send_later(server, segment, ctx);
    }

    /// Frames leave a batch in the order in which they came.
    fn send_later(&mut self, server: u16, segment: Segment, ctx: &mut Context) {
        self.outgoing.push_back((server, segment));
        let delay = ctx.random.between(0, self.slow_ticks);
        ctx.after(delay, Event::Transmit);
    }

    /// Sends the next frame.
    pub(crate) fn transmit(&mut self, ctx: &mut Context) {
        if let Some((server, segment)) = self.outgoing.pop_front() {
            ctx.send(Link::ToServer(server.into()), segment);
        }
    }

    fn update(&mut self, update: Update, ctx: &mut Context) {
        self.updates.push(update);
        let delay = ctx.random.between(1, self.slow_ticks);
        ctx.after(delay, Event::Flush);
    }

    /// Writes the filters.
    pub(crate) fn flush(&mut self, ctx: &mut Context) {
        for update in std::mem::take(&mut self.updates) {
            match update {
                Update::Insert(filter) => self.insert(filter),
                Update::Further(further) => self.write(*further, ctx),
            }
        }
    }

    /// Reading and writing are two system calls in a row, of one queue after the other: something of a server's may come between them,
    /// but not that and then the client's repetition, which is a whole time-out later.
    pub(super) fn finish_writing(&mut self, ctx: &mut Context) {
        if self.updates.iter().any(|update| matches!(update, Update::Further(_))) {
            self.flush(ctx);
        }
    }

    /// Unless a new connection has replaced the pending filter.
    fn insert(&mut self, filter: Filter) {
        let is_pending = |old: &Filter| old.state == state::PENDING && old.handoff_seq == filter.handoff_seq;
        if let Some(old) = self.filter.as_mut().filter(|old| is_pending(old)) {
            let syn = old.flags & flag::SYN_NOTED;
            *old = Filter { flags: filter.flags | syn, noted_isn: old.noted_isn, ..filter };
        }
    }

    /// Writes the filter as it was read, with what was decided: what the program has done since is undone.
    fn write(&mut self, further: Further, ctx: &mut Context) {
        let Further { segment, chosen, read } = further;
        if self.filter.as_ref().is_none_or(|latest| latest.first_seq != read.first_seq) {
            return;
        }
        let mut filter = acknowledged(read, &segment);
        let ticket = choose_ticket(&filter, chosen, ctx.mutation);
        let Survey { requests, next } = survey(&segment.data);
        let boundary = next.map(|offset| segment.seq.wrapping_add(offset));
        note_request(&mut filter, &segment, ticket, requests, boundary, ctx);
        self.filter = Some(filter);
        if !self.sends_first {
            self.send_later(filter.server, with_ticket(&filter, segment, ticket), ctx);
        }
    }
}

/// A filter with a segment's acknowledgement noted.
fn acknowledged(mut filter: Filter, segment: &Segment) -> Filter {
    note_ack(&mut filter, segment);
    filter
}

//! The front-end's slow path: takes frames one by one, some time after the program gave them away, and writes filters some time after
//! it has sent the frames.

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request::{Data, data_of, needs_ticket},
    slow_path::kind,
    ticket::KIND_HAND_OFF,
};

use super::{
    FrontEnd,
    further::{
        Sent, forward, make_opaque, note_ack, note_data, note_request, repeat, send_request, send_with_ticket,
    },
};
use crate::{
    segment::{Segment, Survey, survey},
    world::{Context, Event},
};

/// A filter that is to be written.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// Of a first request that was handed off.
    Insert(Filter),
    /// Of a further request that was sent.
    Further(Box<Further>),
}

impl Update {
    /// Whether it can be written.
    fn is_read(&self) -> bool {
        match self {
            Self::Insert(_) => true,
            Self::Further(further) => further.read.is_some(),
        }
    }

    fn read_again(self, read: Option<Filter>) -> Self {
        match self {
            Self::Insert(_) => self,
            Self::Further(further) => Self::Further(Box::new(Further { read, ..*further })),
        }
    }
}

/// What was done with a further request.
#[derive(Clone, Debug)]
pub(super) struct Further {
    segment: Segment,
    ticket: Sent,
    requests: u32,
    boundary: Result<u32, u8>,
    /// The filter as it was read again for the writing.
    read: Option<Filter>,
}

impl FrontEnd {
    /// Takes the next frame.
    pub(crate) fn slow_path(&mut self, ctx: &mut Context) {
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
        let is_other_queue = ctx.random.hits(self.other_queue_per_mille);
        let is_dealt_with = !is_other_queue
            && self.updates.iter().any(|update| match update {
                Update::Further(further) => further.segment.seq == segment.seq,
                Update::Insert(_) => false,
            });
        if is_dealt_with || filter.flags & flag::ASKED == 0 || filter.boundary != segment.seq {
            return self.go_along(segment, ctx);
        }
        let Survey { requests, next } = survey(&segment.data);
        let is_understood =
            segment.data.first().is_some_and(|byte| usize::from(byte.head) <= segment.data.len());
        // Even then with a ticket: an earlier copy may have been understood, and have made the server release the connection.
        let chosen = if is_understood { self.choose(ctx) } else { filter.server };
        let ticket = send_request(&filter, segment.clone(), chosen, ctx);
        let boundary = next.map(|offset| segment.seq.wrapping_add(offset));
        let further = Further { segment, ticket, requests, boundary, read: None };
        self.update(Update::Further(Box::new(further)), ctx);
    }

    /// Data behind a request that is, or was, with the slow path.
    fn behind(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if filter.flags & flag::ASKED != 0 {
            return forward(&filter, segment, ctx);
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
        forward(filter, segment, ctx);
    }

    fn update(&mut self, update: Update, ctx: &mut Context) {
        self.updates.push(update);
        let delay = ctx.random.between(1, self.slow_ticks);
        ctx.after(delay, Event::Flush);
    }

    /// Writes the filters: each is read again, and written a little later, with what the program has done between undone.
    pub(crate) fn flush(&mut self, ctx: &mut Context) {
        let (read, unread): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.updates).into_iter().partition(Update::is_read);
        for update in read {
            match update {
                Update::Insert(filter) => self.insert(filter),
                Update::Further(further) => self.write(&further, ctx),
            }
        }
        for (index, update) in unread.into_iter().enumerate() {
            // One after the other, as two queues do not come between each other's two system calls either.
            let update = if index == 0 { update.read_again(self.filter) } else { update };
            self.updates.push(update);
            let delay = ctx.random.between(0, 1) * ctx.random.between(0, self.slow_ticks);
            ctx.after(delay, Event::Flush);
        }
    }

    /// Reading again and writing are two system calls in a row: something of a server's may come between them, but not that and then
    /// the client's repetition, which is a whole time-out later.
    pub(super) fn finish_writing(&mut self, ctx: &mut Context) {
        let is_between =
            |update: &Update| matches!(update, Update::Further(further) if further.read.is_some());
        if self.updates.iter().any(is_between) {
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

    fn write(&mut self, further: &Further, ctx: &mut Context) {
        let Further { segment, ticket, requests, boundary, read: Some(mut filter) } = further.clone() else {
            return;
        };
        let is_waited_for = filter.flags & flag::ASKED != 0 && filter.boundary == segment.seq;
        let is_same = |latest: &Filter| latest.first_seq == filter.first_seq;
        if !is_waited_for || !self.filter.as_ref().is_some_and(is_same) {
            return;
        }
        note_ack(&mut filter, &segment);
        note_request(&mut filter, &segment, ticket, requests, boundary, ctx);
        self.filter = Some(filter);
    }
}

//! The front-end's slow path: takes frames one by one, some time after the program gave them away, and does with each what the engine
//! does. The filter of a new connection is written after its hand-off was sent, as no segment may overtake that; that of one that has
//! a server before the frame is sent, as the server may release the connection at once. How that is written is told in `writing`.

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request::{Data, data_of, is_settled, needs_ticket},
    slow_path::kind,
    ticket::KIND_HAND_OFF,
};

use super::{
    FrontEnd,
    further::{
        choose_ticket, latest_ticket, make_opaque, note_ack, note_data, note_request, send_with_ticket,
        with_ticket,
    },
    writing::Note,
};
use crate::{
    mutation::Mutation,
    network::Link,
    segment::{Segment, Survey, survey},
    world::{Context, Event},
};

impl FrontEnd {
    /// Takes the next frame, once all is written that the one before has changed.
    pub(crate) fn slow_path(&mut self, ctx: &mut Context) {
        self.finish_writing(ctx);
        let Some((kind, segment)) = self.queue.pop_front() else { return };
        let Some(filter) = self.filter else { return };
        match kind {
            kind::FIRST | kind::AGAIN => self.first(filter, segment, ctx),
            kind::LATER => self.later(filter, segment, ctx),
            kind::FURTHER => self.further(filter, segment, ctx),
            kind::RETICKET => self.send_as_latest(&filter, segment, ctx),
            _ => self.behind(filter, segment, ctx),
        }
    }

    fn first(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if segment.seq != filter.handoff_seq {
            return;
        }
        let known = self.unwritten.or_else(|| (filter.state != state::PENDING).then_some(filter));
        if let Some(known) = known {
            if known.handoff_ack == segment.acknowledged() {
                send_with_ticket(&known, segment, KIND_HAND_OFF, known.server, 0, ctx);
            }
            return;
        }
        let server = self.choose(ctx);
        let state = if segment.fin { state::CLOSING } else { state::ESTABLISHED };
        let filter = self.first_filter(&segment, server, state, ctx);
        send_with_ticket(&filter, segment, KIND_HAND_OFF, server, 0, ctx);
        self.unwritten = Some(filter);
        let delay = ctx.random.between(1, self.slow_ticks);
        ctx.after(delay, Event::Flush);
    }

    /// What came while the filter was pending.
    fn later(&mut self, filter: Filter, segment: Segment, ctx: &mut Context) {
        if let Some(first) = self.unwritten {
            self.unwritten = Some(along(first, &segment, ctx));
            return self.send_later(first.server, segment, ctx);
        }
        if filter.state == state::PENDING {
            return;
        }
        if starts_request(&filter, &segment) {
            return self.further(filter, segment, ctx);
        }
        self.go_along(filter, segment, ctx);
    }

    fn further(&mut self, before: Filter, segment: Segment, ctx: &mut Context) {
        if !starts_request(&before, &segment) {
            return self.send_as_latest(&before, segment, ctx);
        }
        let noted = acknowledged(before, &segment);
        if !is_settled(&noted) && ctx.mutation != Mutation::TakeOverUnanswered {
            return self.go_along(before, segment, ctx);
        }
        let is_understood =
            segment.data.first().is_some_and(|byte| usize::from(byte.head) <= segment.data.len());
        // Even then with a ticket: an earlier copy may have been understood, and have made the server release the connection.
        let chosen = if is_understood { self.choose(ctx) } else { before.server };
        let ticket = choose_ticket(&noted, chosen, ctx.mutation);
        let Survey { requests, next } = survey(&segment.data);
        let boundary = next.map(|offset| segment.seq.wrapping_add(offset));
        let mut after = noted;
        note_request(&mut after, &segment, ticket, requests, boundary, ctx);
        let segment = with_ticket(&after, segment, ticket);
        self.write(Note { before, after, segment }, ctx);
    }

    /// Data behind a request that is, or was, with the slow path.
    fn behind(&mut self, before: Filter, segment: Segment, ctx: &mut Context) {
        if before.flags & flag::ASKED != 0 {
            return self.send_later(before.server, segment, ctx);
        }
        if is_settled(&acknowledged(before, &segment)) && starts_request(&before, &segment) {
            return self.further(before, segment, ctx);
        }
        self.go_along(before, segment, ctx);
    }

    /// Data that goes to its server as it is.
    fn go_along(&mut self, before: Filter, segment: Segment, ctx: &mut Context) {
        let after = along(before, &segment, ctx);
        self.write(Note { before, after, segment }, ctx);
    }

    /// A segment that may be that of the latest ticket.
    pub(super) fn send_as_latest(&mut self, filter: &Filter, segment: Segment, ctx: &mut Context) {
        // Unless it shows that there is a response: the program may have noted that of an earlier request.
        let is_any = ctx.mutation == Mutation::RepeatWhateverAck;
        let noted = if is_any { *filter } else { acknowledged(*filter, &segment) };
        let is_latest = needs_ticket(&noted, segment.seq, segment.acknowledged());
        let ticket = is_latest.then(|| latest_ticket(filter));
        self.send_later(filter.server, with_ticket(filter, segment, ticket), ctx);
    }

    /// Frames leave a batch in the order in which they came.
    pub(super) fn send_later(&mut self, server: u16, segment: Segment, ctx: &mut Context) {
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

    /// Writes the filter of a new connection, unless another one has replaced it.
    pub(crate) fn flush(&mut self) {
        let Some(filter) = self.unwritten.take() else { return };
        let is_pending = |old: &Filter| old.state == state::PENDING && old.handoff_seq == filter.handoff_seq;
        if let Some(old) = self.filter.as_mut().filter(|old| is_pending(old)) {
            let syn = old.flags & flag::SYN_NOTED;
            *old = Filter { flags: filter.flags | syn, noted_isn: old.noted_isn, ..filter };
        }
    }
}

/// Whether a segment starts the request that the flow is to go on with, or that one again.
fn starts_request(filter: &Filter, segment: &Segment) -> bool {
    !segment.data.is_empty()
        && matches!(data_of(filter, segment.seq, segment.end()), Data::Request | Data::Again)
}

/// A filter with a segment's acknowledgement noted.
fn acknowledged(mut filter: Filter, segment: &Segment) -> Filter {
    note_ack(&mut filter, segment);
    filter
}

/// A filter with data noted that goes to its server as it is.
fn along(filter: Filter, segment: &Segment, ctx: &mut Context) -> Filter {
    let mut after = acknowledged(filter, segment);
    if segment.fin || segment.rst {
        after.state = state::CLOSING;
    }
    if segment.data.is_empty() {
        return after;
    }
    if after.flags & flag::ASKED != 0 {
        after.flags = after.flags & !flag::ASKED | flag::FOLLOWED;
    }
    match data_of(&after, segment.seq, segment.end()) {
        Data::Request => {
            let Survey { requests, next } = survey(&segment.data);
            let boundary = next.map(|offset| segment.seq.wrapping_add(offset));
            note_request(&mut after, segment, None, requests, boundary, ctx);
        }
        Data::Straddles => make_opaque(&mut after, opaque::STRADDLED, ctx),
        Data::Plain | Data::Again | Data::Behind => {}
    }
    note_data(&mut after, segment);
    after
}

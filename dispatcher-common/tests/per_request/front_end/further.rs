//! Further requests of a connection that has a filter, and what is noted in the filter of them.

use dispatcher_common::{
    filter::{Filter, flag, opaque},
    path_state::PathState,
    per_request::{is_after, is_settled},
    slow_path::kind,
    syn_options::SynOptions,
    ticket::{KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, Ticket},
};

use super::{FrontEnd, is_one_head};
use crate::{
    mutation::Mutation,
    network::Link,
    segment::{Segment, Survey, survey},
    world::Context,
};

/// The flags of a filter that tell of its latest ticket.
const TICKET_FLAGS: u8 = flag::FURTHER | flag::MOVING | flag::RESPONDED;

impl FrontEnd {
    /// A further request begins.
    pub(super) fn request(&mut self, segment: Segment, ctx: &mut Context) {
        let Survey { next, .. } = survey(&segment.data);
        let is_whole = next == Ok(segment.data.len() as u32) && !segment.fin && is_one_head(&segment);
        if is_whole && ctx.random.hits(self.known_per_mille) {
            let chosen = self.choose(ctx);
            let Some(filter) = &mut self.filter else { return };
            let boundary = segment.end();
            return dispatch(filter, segment, chosen, 1, Ok(boundary), ctx);
        }
        let Some(filter) = &mut self.filter else { return };
        if !self.is_up {
            let server = filter.server;
            return dispatch(filter, segment, server, 1, Err(opaque::UNHEARD), ctx);
        }
        filter.flags = filter.flags & !flag::FOLLOWED | flag::ASKED;
        self.ask(kind::FURTHER, segment, ctx);
    }

    /// Sends the latest request with a ticket again. A hand-off goes through the slow path while that may be writing what undoes it.
    pub(super) fn repeat(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        filter.handoff_ack = segment.acknowledged();
        let waits = filter.flags & flag::ASKED != 0 && ctx.mutation != Mutation::HandOverWhileAsked;
        if filter.flags & flag::FURTHER == 0 && waits && self.is_up {
            return self.ask(kind::RETICKET, segment, ctx);
        }
        let segment = with_ticket(filter, segment, Some(latest_ticket(filter)));
        forward(filter, segment, ctx);
    }

    /// Data at or behind a request that is with the slow path.
    pub(super) fn ask_again(&mut self, kind: u8, segment: Segment, ctx: &mut Context) {
        if self.is_up {
            return self.ask(kind, segment, ctx);
        }
        let Some(filter) = &mut self.filter else { return };
        if kind == kind::FURTHER {
            let server = filter.server;
            return dispatch(filter, segment, server, 1, Err(opaque::UNHEARD), ctx);
        }
        note_data(filter, &segment);
        forward(filter, segment, ctx);
    }
}

/// Kind, number and server of the latest ticket.
pub(super) fn latest_ticket(filter: &Filter) -> (u8, u8, u16) {
    let (kind, server) = match filter.flags & (flag::FURTHER | flag::MOVING) {
        0 => (KIND_HAND_OFF, filter.server),
        flag::FURTHER => (KIND_BOOKS, filter.server),
        _ => (KIND_MOVE, filter.move_to),
    };
    (kind, filter.number, server)
}

/// Notes a further request, for which a server was chosen, and sends it.
pub(super) fn dispatch(
    filter: &mut Filter,
    segment: Segment,
    chosen: u16,
    requests: u32,
    boundary: Result<u32, u8>,
    ctx: &mut Context,
) {
    let ticket = choose_ticket(filter, chosen, ctx.mutation);
    note_request(filter, &segment, ticket, requests, boundary, ctx);
    let segment = with_ticket(filter, segment, ticket);
    forward(filter, segment, ctx);
}

/// The ticket of a further request: its kind, number and server.
pub(super) type Choice = Option<(u8, u8, u16)>;

/// The ticket that a further request gets for which a server was chosen. None behind a request that still needs its own.
pub(super) fn choose_ticket(filter: &Filter, chosen: u16, mutation: Mutation) -> Choice {
    let kind = if chosen == filter.server { KIND_BOOKS } else { KIND_MOVE };
    let may_have_one = is_settled(filter) || mutation == Mutation::TakeOverUnanswered;
    may_have_one.then_some((kind, filter.requests as u8, chosen))
}

/// Notes a further request that is sent.
pub(super) fn note_request(
    filter: &mut Filter,
    segment: &Segment,
    ticket: Choice,
    requests: u32,
    boundary: Result<u32, u8>,
    ctx: &mut Context,
) {
    filter.flags &= !(flag::FOLLOWED | flag::ASKED);
    match boundary {
        Ok(boundary) => {
            filter.flags |= flag::FOLLOWED;
            filter.boundary = boundary;
        }
        Err(reason) => make_opaque(filter, reason, ctx),
    }
    filter.requests = filter.requests.wrapping_add(requests);
    note_data(filter, segment);
    let Some((kind, number, server)) = ticket else { return };
    if filter.flags & flag::MOVING != 0 {
        filter.kept_busy += 1;
    }
    filter.flags &= !TICKET_FLAGS;
    filter.flags |= flag::FURTHER;
    if kind == KIND_MOVE {
        filter.flags |= flag::MOVING;
        filter.move_to = server;
    }
    filter.number = number;
    filter.handoff_seq = segment.seq;
    filter.handoff_ack = segment.acknowledged();
    filter.request_ack = segment.acknowledged();
    filter.response_ns = 0;
}

pub(super) fn make_opaque(filter: &mut Filter, reason: u8, ctx: &mut Context) {
    filter.flags &= !(flag::FOLLOWED | flag::ASKED);
    filter.opaque = reason;
    ctx.ledger.opaque += 1;
}

/// Notes what the client acknowledges.
pub(super) fn note_ack(filter: &mut Filter, segment: &Segment) {
    let Some(ack) = segment.ack else { return };
    filter.last_ack = ack;
    if filter.response_ns == 0 && is_after(ack, filter.request_ack) {
        filter.response_ns = 1;
        filter.flags |= flag::RESPONDED;
    }
}

pub(super) fn note_data(filter: &mut Filter, segment: &Segment) {
    if is_after(segment.end(), filter.next_seq) {
        filter.next_seq = segment.end();
    }
}

pub(super) fn forward(filter: &Filter, segment: Segment, ctx: &mut Context) {
    ctx.send(Link::ToServer(filter.server.into()), segment);
}

/// Sends a segment with a ticket to the server that has the flow.
pub(super) fn send_with_ticket(
    filter: &Filter,
    segment: Segment,
    kind: u8,
    server: u16,
    number: u8,
    ctx: &mut Context,
) {
    let segment = with_ticket(filter, segment, Some((kind, number, server)));
    forward(filter, segment, ctx);
}

/// A segment with a ticket, if it gets one.
pub(super) fn with_ticket(filter: &Filter, segment: Segment, choice: Choice) -> Segment {
    let ticket = choice.map(|(kind, number, server)| Ticket {
        kind,
        options: SynOptions(filter.options),
        priority: filter.priority,
        timestamps: false,
        followed: kind != KIND_HAND_OFF || filter.flags & flag::FOLLOWED != 0 || filter.moves > 0,
        number,
        class: filter.class,
        server,
        path: PathState::UNKNOWN,
    });
    Segment { ticket, ..segment }
}

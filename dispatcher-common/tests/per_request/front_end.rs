//! The front-end's program: the table of what a segment meets. What data is to a flow, and what becomes of a released request, is
//! decided by `dispatcher_common::per_request`; the rest mirrors the program's `syn`, `unknown`, `renewed` and `known`.

use std::collections::VecDeque;

use dispatcher_common::{
    choice::spread,
    filter::{Filter, flag, opaque, state},
    per_request::{Data, Released, data_of, is_after, is_settled, needs_ticket, released},
    slow_path::kind,
    syn_options::SynOptions,
    ticket::{KIND_BOOKS, KIND_HAND_OFF, KIND_MOVE, KIND_RELEASED, Ticket},
};

use crate::{
    mutation::Mutation,
    network::Link,
    segment::{Segment, Survey, survey},
    slow_path::Update,
    world::{Context, Event},
};

/// The flags of a filter that tell of its latest ticket.
pub(crate) const TICKET_FLAGS: u8 = flag::FURTHER | flag::MOVING | flag::RESPONDED;

pub(crate) struct FrontEnd {
    pub(crate) servers: usize,
    pub(crate) filter: Option<Filter>,
    /// ISNs that were answered, and with which cookie.
    issued: Vec<(u32, u32)>,
    cookie_key: u64,
    has_late_wrap: bool,
    /// What waits for the slow path.
    pub(crate) queue: VecDeque<(u8, Segment)>,
    /// Filters to be written once the slow path's frames are sent.
    pub(crate) updates: Vec<Update>,
    /// Whether a control plane listens.
    pub(crate) is_up: bool,
    /// How many requests of a thousand the class cache knows.
    known_per_mille: u64,
    /// A server that gets no more requests.
    draining: Option<usize>,
    pub(crate) slow_ticks: u64,
    crash_per_mille: u64,
}

impl FrontEnd {
    pub(crate) fn new(servers: usize, ctx: &mut Context) -> Self {
        let crash_per_mille = ctx.random.between(0, 1) * ctx.random.between(1, 1000);
        if crash_per_mille > 0 {
            let delay = ctx.random.between(50, 3000);
            ctx.after(delay, Event::ControlPlane);
        }
        let random = &mut ctx.random;
        Self {
            servers,
            filter: None,
            issued: Vec::new(),
            cookie_key: random.next(),
            has_late_wrap: random.hits(500),
            queue: VecDeque::new(),
            updates: Vec::new(),
            is_up: true,
            known_per_mille: random.between(0, 2) * 500,
            draining: None,
            slow_ticks: random.between(1, 25),
            crash_per_mille,
        }
    }

    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The control plane dies, with all frames that it has and all filters that it has not written; or starts again.
    pub(crate) fn restart(&mut self, ctx: &mut Context) {
        let (least, most) = if self.is_up { (20, 200) } else { (100, 3000) };
        self.is_up = !self.is_up;
        self.queue.clear();
        // The program's own first requests are written at once, and so are the slow path's in this model: what may go wrong
        // between is not about further requests.
        self.updates.retain(|update| matches!(update, Update::Insert(_)));
        self.draining = ctx.random.hits(300).then(|| ctx.random.next() as usize % self.servers);
        if ctx.is_rough && ctx.random.hits(self.crash_per_mille) || !self.is_up {
            let delay = ctx.random.between(least, most);
            ctx.after(delay, Event::ControlPlane);
        }
    }

    /// The policy.
    pub(crate) fn choose(&self, ctx: &mut Context) -> u16 {
        let server = ctx.random.next() as usize % self.servers;
        let is_out = self.draining == Some(server) && self.servers > 1;
        (if is_out { (server + 1) % self.servers } else { server }) as u16
    }

    /// A frame that comes from a server: one that it has given back.
    pub(crate) fn take_back(&mut self, segment: Segment, ctx: &mut Context) {
        match segment.ticket {
            None => self.receive(segment, ctx),
            Some(ticket) if ticket.kind == KIND_RELEASED => self.take_released(segment, ticket, ctx),
            Some(_) => {
                if let Some(filter) = &self.filter {
                    ctx.send(Link::ToServer(filter.server.into()), segment);
                }
            }
        }
    }

    fn take_released(&mut self, mut segment: Segment, ticket: Ticket, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        let mut decision = released(filter, segment.seq, ticket.server);
        decision = match (ctx.mutation, decision) {
            (Mutation::TakeStale, Released::Stale) => Released::Take,
            (Mutation::TakeWhileAsked, Released::TakeUnsent) => Released::Take,
            _ => decision,
        };
        match decision {
            Released::Take | Released::TakeUnsent => {
                ctx.ledger.moves += 1;
                filter.server = ticket.server;
                filter.flags &= !(flag::FURTHER | flag::MOVING);
                filter.handoff_ack = segment.acknowledged();
                filter.moves += 1;
            }
            Released::Again => {}
            Released::Stale => return,
        }
        if decision == Released::TakeUnsent {
            return;
        }
        ctx.trace.note(ctx.now, "hands over to", ticket.server.into(), segment.seq);
        segment.ticket = Some(Ticket { kind: KIND_HAND_OFF, followed: true, ..ticket });
        ctx.send(Link::ToServer(ticket.server.into()), segment);
    }

    /// A frame that comes from the client, or looks like it.
    pub(crate) fn receive(&mut self, segment: Segment, ctx: &mut Context) {
        if segment.syn {
            return self.answer_syn(&segment, ctx);
        }
        match &self.filter {
            Some(filter) if !self.takes_over(filter, &segment) => self.known(segment, ctx),
            Some(_) if !segment.data.is_empty() && !self.is_at_isn(&segment) => {
                ctx.trace.note(ctx.now, "replaces the filter at", 0, segment.seq);
                self.filter = None;
                self.unknown(segment, ctx);
            }
            _ => self.unknown(segment, ctx),
        }
    }

    fn answer_syn(&mut self, segment: &Segment, ctx: &mut Context) {
        let isn = segment.seq;
        if let Some(filter) = &mut self.filter {
            let first_seq =
                if ctx.mutation == Mutation::NoteOwnSyn { filter.handoff_seq } else { filter.first_seq };
            if first_seq != isn.wrapping_add(1) {
                filter.noted_isn = isn;
                filter.flags |= flag::SYN_NOTED;
            }
        }
        let cookie = self.cookie(isn);
        let ack = Some(isn.wrapping_add(1));
        let answer = Segment { syn: true, ..Segment::new(segment.connection, cookie, ack) };
        ctx.send(Link::FrontEndToClient, answer);
    }

    /// The cookie for an ISN. The first one lies before the wrap, or else responses would hardly ever cross it.
    fn cookie(&mut self, isn: u32) -> u32 {
        if let Some((_, cookie)) = self.issued.iter().find(|(known, _)| *known == isn) {
            return *cookie;
        }
        let random = spread(self.cookie_key, isn.into()) as u32;
        let is_late = self.issued.is_empty() && self.has_late_wrap;
        let cookie = if is_late { u32::MAX - random % 100 } else { random >> 1 | 1 << 20 };
        self.issued.push((isn, cookie));
        cookie
    }

    fn is_cookie_of(&self, isn: u32, segment: &Segment) -> bool {
        let cookie = segment.acknowledged().wrapping_sub(1);
        segment.ack.is_some() && self.issued.contains(&(isn, cookie))
    }

    fn is_at_isn(&self, segment: &Segment) -> bool {
        self.filter.is_some_and(|filter| segment.seq == filter.noted_isn)
    }

    fn takes_over(&self, filter: &Filter, segment: &Segment) -> bool {
        filter.flags & flag::SYN_NOTED != 0
            && segment.seq.wrapping_sub(filter.noted_isn) <= 1
            && self.is_cookie_of(filter.noted_isn, segment)
    }

    fn unknown(&mut self, segment: Segment, ctx: &mut Context) {
        if segment.rst || segment.ack.is_none() {
            return;
        }
        if self.is_cookie_of(segment.seq.wrapping_sub(1), &segment) {
            if !segment.data.is_empty() {
                self.admit(segment, ctx);
            } else if segment.fin {
                ctx.ledger.close(segment.connection);
                ctx.send(Link::FrontEndToClient, Segment::reset_for(&segment));
            }
            return;
        }
        let cookie = segment.acknowledged().wrapping_sub(1);
        if !self.issued.iter().any(|(_, issued)| *issued == cookie) {
            ctx.send(Link::FrontEndToClient, Segment::reset_for(&segment));
        }
    }

    /// The first request of a connection.
    fn admit(&mut self, segment: Segment, ctx: &mut Context) {
        let Survey { next, .. } = survey(&segment.data);
        let is_whole = next == Ok(segment.data.len() as u32) && !segment.fin && is_one_head(&segment);
        if is_whole && ctx.random.hits(self.known_per_mille) {
            let server = self.choose(ctx);
            let filter = self.first_filter(&segment, server, state::ESTABLISHED);
            self.filter = Some(filter);
            return send_with_ticket(&filter, segment, KIND_HAND_OFF, server, 0, ctx);
        }
        if self.is_up {
            self.filter = Some(self.first_filter(&segment, 0, state::PENDING));
            self.ask(kind::FIRST, segment, ctx);
        }
    }

    /// The filter of a flow whose first request goes to a server.
    pub(crate) fn first_filter(&self, segment: &Segment, server: u16, state: u8) -> Filter {
        let Survey { requests, next } = survey(&segment.data);
        let offset = next.unwrap_or(0);
        Filter {
            state,
            server,
            flags: if next.is_ok() { flag::FOLLOWED } else { 0 },
            opaque: next.err().unwrap_or(opaque::NOT),
            boundary: segment.seq.wrapping_add(offset),
            requests,
            handoff_seq: segment.seq,
            handoff_ack: segment.acknowledged(),
            request_ack: segment.acknowledged(),
            last_ack: segment.acknowledged(),
            next_seq: segment.end(),
            first_seq: segment.seq,
            ..Filter::default()
        }
    }

    pub(crate) fn ask(&mut self, kind: u8, segment: Segment, ctx: &mut Context) {
        if self.is_up {
            self.queue.push_back((kind, segment));
            let delay = ctx.random.between(1, self.slow_ticks);
            ctx.after(delay, Event::SlowPath);
        }
    }

    fn known(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        if filter.state != state::PENDING {
            return self.established(segment, ctx);
        }
        let says_nothing = segment.data.is_empty() && segment.ack == Some(filter.handoff_ack);
        if says_nothing && !segment.fin && !segment.rst {
            return;
        }
        let is_again = !segment.data.is_empty() && segment.seq == filter.handoff_seq;
        self.ask(if is_again { kind::AGAIN } else { kind::LATER }, segment, ctx);
    }

    fn established(&mut self, segment: Segment, ctx: &mut Context) {
        let Some(filter) = &mut self.filter else { return };
        note_ack(filter, &segment);
        if segment.fin || segment.rst {
            filter.state = state::CLOSING;
        }
        if segment.data.is_empty() {
            return forward(filter, segment, ctx);
        }
        let data = data_of(filter, segment.seq, segment.end());
        if data == Data::Straddles {
            make_opaque(filter, opaque::STRADDLED, ctx);
        }
        if needs_ticket(filter, segment.seq, segment.acknowledged()) {
            return repeat(filter, segment, ctx);
        }
        match data {
            Data::Plain | Data::Straddles => {}
            Data::Request => return self.request(segment, ctx),
            Data::Again => return self.ask_again(kind::FURTHER, segment, ctx),
            Data::Behind => return self.ask_again(kind::BEHIND, segment, ctx),
        }
        note_data(filter, &segment);
        forward(filter, segment, ctx);
    }

    /// A further request begins.
    fn request(&mut self, segment: Segment, ctx: &mut Context) {
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

    /// Data at or behind a request that is with the slow path.
    fn ask_again(&mut self, kind: u8, segment: Segment, ctx: &mut Context) {
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

/// Whether the data is one head without a body.
fn is_one_head(segment: &Segment) -> bool {
    segment
        .data
        .first()
        .is_some_and(|byte| byte.head == byte.total && usize::from(byte.head) == segment.data.len())
}

/// Sends the latest request with a ticket again.
pub(crate) fn repeat(filter: &mut Filter, segment: Segment, ctx: &mut Context) {
    let (kind, server) = match filter.flags & (flag::FURTHER | flag::MOVING) {
        0 => (KIND_HAND_OFF, filter.server),
        flag::FURTHER => (KIND_BOOKS, filter.server),
        _ => (KIND_MOVE, filter.move_to),
    };
    filter.handoff_ack = segment.acknowledged();
    let number = filter.number;
    send_with_ticket(filter, segment, kind, server, number, ctx);
}

/// Sends a further request, for which a server was chosen, and notes it.
pub(crate) fn dispatch(
    filter: &mut Filter,
    segment: Segment,
    chosen: u16,
    requests: u32,
    boundary: Result<u32, u8>,
    ctx: &mut Context,
) {
    let ticket = send_request(filter, segment.clone(), chosen, ctx);
    note_request(filter, &segment, ticket, requests, boundary, ctx);
}

/// The ticket that a further request was sent with: its kind, number and server.
pub(crate) type Sent = Option<(u8, u8, u16)>;

/// Sends a further request to the server that has the connection.
pub(crate) fn send_request(filter: &Filter, segment: Segment, chosen: u16, ctx: &mut Context) -> Sent {
    if !is_settled(filter) && ctx.mutation != Mutation::TakeOverUnanswered {
        forward(filter, segment, ctx);
        return None;
    }
    let kind = if chosen == filter.server { KIND_BOOKS } else { KIND_MOVE };
    let number = filter.requests as u8;
    send_with_ticket(filter, segment, kind, chosen, number, ctx);
    Some((kind, number, chosen))
}

/// Notes a further request that was sent.
pub(crate) fn note_request(
    filter: &mut Filter,
    segment: &Segment,
    ticket: Sent,
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

pub(crate) fn make_opaque(filter: &mut Filter, reason: u8, ctx: &mut Context) {
    filter.flags &= !(flag::FOLLOWED | flag::ASKED);
    filter.opaque = reason;
    ctx.ledger.opaque += 1;
}

/// Notes what the client acknowledges.
pub(crate) fn note_ack(filter: &mut Filter, segment: &Segment) {
    let Some(ack) = segment.ack else { return };
    filter.last_ack = ack;
    if filter.response_ns == 0 && is_after(ack, filter.request_ack) {
        filter.response_ns = 1;
        filter.flags |= flag::RESPONDED;
    }
}

pub(crate) fn note_data(filter: &mut Filter, segment: &Segment) {
    if is_after(segment.end(), filter.next_seq) {
        filter.next_seq = segment.end();
    }
}

pub(crate) fn forward(filter: &Filter, segment: Segment, ctx: &mut Context) {
    ctx.send(Link::ToServer(filter.server.into()), segment);
}

/// Sends a segment with a ticket to the server that has the flow.
pub(crate) fn send_with_ticket(
    filter: &Filter,
    mut segment: Segment,
    kind: u8,
    server: u16,
    number: u8,
    ctx: &mut Context,
) {
    segment.ticket = Some(Ticket {
        kind,
        options: SynOptions(filter.options),
        priority: filter.priority,
        timestamps: false,
        followed: kind != KIND_HAND_OFF || filter.flags & flag::FOLLOWED != 0 || filter.moves > 0,
        number,
        class: filter.class,
        server,
    });
    ctx.send(Link::ToServer(filter.server.into()), segment);
}

//! New connections: cookies, a new connection behind an old filter, segments of flows without a filter, and first requests.

use dispatcher_common::{
    choice::spread,
    filter::{Filter, flag, opaque, state},
    slow_path::kind,
    ticket::KIND_HAND_OFF,
};

use super::{FrontEnd, further::send_with_ticket, is_one_head};
use crate::{
    mutation::Mutation,
    network::Link,
    segment::{Segment, Survey, survey},
    world::Context,
};

impl FrontEnd {
    pub(super) fn answer_syn(&mut self, segment: &Segment, ctx: &mut Context) {
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

    pub(super) fn is_at_isn(&self, segment: &Segment) -> bool {
        self.filter.is_some_and(|filter| segment.seq == filter.noted_isn)
    }

    pub(super) fn takes_over(&self, filter: &Filter, segment: &Segment) -> bool {
        filter.flags & flag::SYN_NOTED != 0
            && segment.seq.wrapping_sub(filter.noted_isn) <= 1
            && self.is_cookie_of(filter.noted_isn, segment)
    }

    pub(super) fn unknown(&mut self, segment: Segment, ctx: &mut Context) {
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
            let filter = self.first_filter(&segment, server, state::ESTABLISHED, ctx);
            self.filter = Some(filter);
            return send_with_ticket(&filter, segment, KIND_HAND_OFF, server, 0, ctx);
        }
        if self.is_up {
            self.filter = Some(self.first_filter(&segment, 0, state::PENDING, ctx));
            self.ask(kind::FIRST, segment, ctx);
        }
    }

    /// The filter of a flow whose first request goes to a server.
    pub(super) fn first_filter(&self, segment: &Segment, server: u16, state: u8, ctx: &Context) -> Filter {
        let Survey { requests, next } = survey(&segment.data);
        let offset = next.unwrap_or(0);
        Filter {
            created_ns: ctx.now,
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
}

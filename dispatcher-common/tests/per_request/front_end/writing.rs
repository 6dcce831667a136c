//! How the slow path writes the filter of a flow that has a server: it looks it up again, merges what it has decided, and updates it
//! whole. Between its decision and the look-up, and between that and the update, anything may happen to the flow, and what the program
//! notes meanwhile of the second is undone. Two things do not come between two system calls in a row: a new connection, and the client's
//! repetition of a request that the slow path has in hand without having been asked.

use dispatcher_common::{
    filter::{Filter, flag},
    merge::{is_same_step, merge},
    per_request::may_write,
};

use super::FrontEnd;
use crate::{
    mutation::Mutation,
    segment::Segment,
    world::{Context, Event},
};

/// What was decided of a frame.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// The filter as it was read.
    pub(super) before: Filter,
    /// What it is to be.
    pub(super) after: Filter,
    /// What is sent then, with its ticket.
    pub(super) segment: Segment,
}

/// How far the slow path has got with a frame.
#[derive(Clone, Debug)]
pub(super) enum Writing {
    /// It is about to look the filter up again.
    Decided(Note),
    /// It is about to write this.
    Merged(Filter, Note),
}

impl FrontEnd {
    /// Writes a filter, and then sends its frame.
    pub(super) fn write(&mut self, note: Note, ctx: &mut Context) {
        if self.sends_before(&note) {
            self.send_later(note.before.server, note.segment.clone(), ctx);
        }
        self.writing = Some(Writing::Decided(note));
        self.pause(ctx);
    }

    fn pause(&self, ctx: &mut Context) {
        let delay = ctx.random.between(0, 1) * ctx.random.between(0, self.slow_ticks);
        ctx.after(delay, Event::Write);
    }

    /// Takes the next of the two steps.
    pub(crate) fn go_on_writing(&mut self, ctx: &mut Context) {
        match self.writing.take() {
            Some(Writing::Decided(note)) => self.look_up(note, ctx),
            Some(Writing::Merged(filter, note)) => {
                ctx.trace.note(
                    ctx.now,
                    "writes the filter, number",
                    note.after.number.into(),
                    note.segment.seq,
                );
                self.filter = Some(filter);
                self.send_written(note, ctx);
            }
            None => {}
        }
    }

    /// Takes both steps.
    pub(super) fn finish_writing(&mut self, ctx: &mut Context) {
        while self.writing.is_some() {
            self.go_on_writing(ctx);
        }
    }

    /// Whether it is about to write what it has decided of this request, for which it was not asked.
    pub(super) fn has_in_hand(&self, copy: &Segment) -> bool {
        matches!(&self.writing, Some(Writing::Merged(_, Note { before, segment, .. }))
            if before.flags & flag::ASKED == 0 && segment.ticket.is_some() && segment.seq == copy.seq)
            && !copy.data.is_empty()
    }

    fn look_up(&mut self, note: Note, ctx: &mut Context) {
        let Some(latest) = self.filter else { return };
        let Note { before, after, segment } = &note;
        if !is_same_step(before, &latest) || !may_write_now(&latest, segment, ctx.mutation) {
            return self.send_unwritten(&latest, note, ctx);
        }
        ctx.trace.note(ctx.now, "looks the filter up, number", latest.number.into(), note.segment.seq);
        let merged = merge(before, after, &latest);
        self.writing = Some(Writing::Merged(merged, note));
        self.pause(ctx);
    }

    fn send_written(&mut self, note: Note, ctx: &mut Context) {
        if !self.sends_before(&note) {
            self.send_later(note.before.server, note.segment, ctx);
        }
    }

    /// No ticket goes out of which no filter tells.
    fn send_unwritten(&mut self, latest: &Filter, note: Note, ctx: &mut Context) {
        let is_told = note.segment.ticket.is_none() || ctx.mutation == Mutation::TicketUntold;
        if is_told || self.sends_before(&note) {
            return self.send_written(note, ctx);
        }
        self.send_as_latest(latest, Segment { ticket: None, ..note.segment }, ctx);
    }

    /// Whether a frame is sent before its filter is written: if nobody else can deal with it meanwhile.
    fn sends_before(&self, note: &Note) -> bool {
        self.sends_first && note.before.flags & flag::ASKED != 0
    }
}

fn may_write_now(latest: &Filter, segment: &Segment, mutation: Mutation) -> bool {
    let mut latest = *latest;
    latest.flags &= match mutation {
        Mutation::WriteWhileFollowed => !flag::FOLLOWED,
        Mutation::WriteWhileLeaving => !flag::MOVING,
        _ => !0,
    };
    may_write(&latest, segment.ticket.is_some() || ends_there(&latest, segment))
}

/// Whether no request can start at the boundary, because the client's stream ends there.
fn ends_there(filter: &Filter, segment: &Segment) -> bool {
    segment.rst || segment.fin && segment.end() == filter.boundary
}

//! The engine's part for frames that go to a server as they came or with a ticket: what a ticket says, putting it in, and the same
//! ticket again for a segment that comes again.

use dispatcher_common::{
    counter::ControlCounter,
    filter::{Filter, flag},
    limits::TICKET_LEN,
    path_state::PathState,
    per_request::needs_ticket,
    syn_options::SynOptions,
    ticket::{self, Ticket, TicketWords},
    tuple::Tuple,
};

use super::{Arrival, Engine, Now, Shared, Verdict, following::is_followed, is_handed_off, progress};
use crate::front::slow_path::{
    collect::Destination,
    frame::{ETHERNET_LEN, Frame, ROOM, set_macs},
};

/// What a ticket says of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// One of the ticket's kinds.
    kind: u8,
    followed: bool,
    number: u8,
    path: PathState,
}

impl Stamp {
    /// The hand-off of a new connection.
    pub(super) const fn first(followed: bool, path: PathState) -> Self {
        Self { kind: ticket::KIND_HAND_OFF, followed, number: 0, path }
    }

    /// The latest ticket of a flow.
    pub(super) fn latest(filter: &Filter) -> Self {
        let kind = match filter.flags & (flag::FURTHER | flag::MOVING) {
            0 => ticket::KIND_HAND_OFF,
            flag::FURTHER => ticket::KIND_BOOKS,
            _ => ticket::KIND_MOVE,
        };
        Self { kind, followed: is_followed(filter), number: filter.number, path: PathState::UNKNOWN }
    }
}

/// The segment that a ticket is made for.
pub(super) struct Sealing<'a> {
    pub(super) tuple: &'a Tuple,
    pub(super) options: SynOptions,
    pub(super) timestamps: bool,
    pub(super) seq: u32,
    pub(super) ack: u32,
}

impl Shared {
    pub(super) fn seal(
        &self,
        sealing: &Sealing<'_>,
        to: &Destination,
        stamp: Stamp,
        now: Now,
    ) -> TicketWords {
        let ticket = Ticket {
            kind: stamp.kind,
            options: sealing.options,
            priority: to.priority,
            timestamps: sealing.timestamps,
            followed: stamp.followed,
            number: stamp.number,
            class: to.class,
            server: to.server,
            path: stamp.path,
        };
        let segment = ticket::Segment { tuple: sealing.tuple, seq: sealing.seq, ack: sealing.ack };
        ticket.seal(&self.ticket_key, &segment, now.epoch)
    }

    /// Whether a frame with a ticket would be sent: the kernel drops a longer one without a word. Clients that heed the MSS that we
    /// announced leave room.
    pub(super) fn takes_ticket(&self, frame: &Frame) -> bool {
        !frame.has_room() || frame.end + TICKET_LEN - ETHERNET_LEN <= self.mtu
    }
}

impl Engine {
    pub(super) fn send_with_ticket(
        &self,
        arrival: &Arrival,
        to: &Destination,
        stamp: Stamp,
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        let frame = &arrival.frame;
        if !self.shared.takes_ticket(frame) {
            return self.unsendable();
        }
        let sealing = Sealing {
            tuple: &frame.tuple,
            options: SynOptions(arrival.meta.options),
            timestamps: frame.timestamps.is_some(),
            seq: frame.seq,
            ack: frame.ack,
        };
        let words = self.shared.seal(&sealing, to, stamp, now);
        let start = if frame.has_room() {
            frame.insert_ticket(buffer, &words);
            0
        } else {
            frame.overwrite_options(&mut buffer[ROOM..], &words);
            ROOM
        };
        set_macs(&mut buffer[start..], &to.entry);
        Verdict::Send { start, end: ROOM + frame.end }
    }

    /// A segment again, with the latest ticket of its flow.
    fn repeat(
        &self,
        arrival: &Arrival,
        filter: &Filter,
        counter: ControlCounter,
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        let Some(entry) = self.shared.usable_server(filter.server) else { return self.unsendable() };
        let server = if filter.flags & flag::MOVING != 0 { filter.move_to } else { filter.server };
        let to = Destination { server, class: filter.class, priority: filter.priority, entry };
        self.send_again(arrival, &to, Stamp::latest(filter), counter, buffer, now)
    }

    pub(super) fn send_again(
        &self,
        arrival: &Arrival,
        to: &Destination,
        stamp: Stamp,
        counter: ControlCounter,
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        let verdict = self.send_with_ticket(arrival, to, stamp, buffer, now);
        if verdict != Verdict::Drop {
            self.shared.count(counter);
        }
        verdict
    }

    /// The segment of the latest ticket again, with SACK blocks where that belongs.
    pub(super) fn reticket(&mut self, arrival: &Arrival, buffer: &mut [u8], now: Now) -> Verdict {
        match self.look_up(&arrival.key).filter(is_handed_off) {
            Some(filter) => {
                let counters = [ControlCounter::Reticketed, ControlCounter::LaterForwarded];
                self.send_as_latest(arrival, &filter, counters, buffer, now)
            }
            None => self.lost(),
        }
    }

    /// A segment that may be that of the latest ticket. A late copy of one that has a response needs none, and may be of a connection
    /// that its server has closed since. Nor does one get a ticket that acknowledges more than the first did: the next segment like it
    /// will look like the response's, and what is released then is nobody's. `again` and `otherwise` say what the two are counted as.
    pub(super) fn send_as_latest(
        &self,
        arrival: &Arrival,
        filter: &Filter,
        [again, otherwise]: [ControlCounter; 2],
        buffer: &mut [u8],
        now: Now,
    ) -> Verdict {
        let frame = &arrival.frame;
        let (noted, _) = progress::with_ack(*filter, frame, now.ns);
        if needs_ticket(&noted, frame.seq, frame.ack) {
            self.repeat(arrival, filter, again, buffer, now)
        } else {
            self.forward(arrival, filter.server, otherwise, buffer)
        }
    }

    pub(super) fn forward(
        &self,
        arrival: &Arrival,
        server: u16,
        counter: ControlCounter,
        buffer: &mut [u8],
    ) -> Verdict {
        let Some(entry) = self.shared.usable_server(server) else { return self.unsendable() };
        set_macs(&mut buffer[ROOM..], &entry);
        self.shared.count(counter);
        Verdict::Send { start: ROOM, end: ROOM + arrival.frame.end }
    }
}

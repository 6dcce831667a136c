//! The engine's part of admission: telling those who are refused, and evicting flows that give way. Both ends of an evicted flow
//! are reset at once: the client where its acknowledgements are, as far as they are known, the server where the client's data ends.

use dispatcher_common::{
    counter::ControlCounter,
    filter::{Filter, FlowKey, state},
};
use dispatcher_core::admission::{Victim, Way};

use super::{Arrival, Engine, Now, Verdict};
use crate::front::{
    dispatch::Refusal,
    slow_path::{
        answer::Answer,
        frame::flags,
        outbox::{Outbox, Side},
        template::{Segment, Template},
    },
};

/// Flows that are tried for one newcomer: of a list that was just made, few have changed.
const MOST_TRIES: usize = 32;

impl Engine {
    /// Evicts a flow for a newcomer, if it has to take someone's place. When none may go, the newcomer is served all the same: who
    /// is better is not refused for the sake of a guard rail.
    pub(super) fn make_room(&mut self, newcomer: &FlowKey, below: Option<u8>, outbox: &mut Outbox) {
        let Some(below) = below else { return };
        for _ in 0..MOST_TRIES {
            let Some(victim) = self.shared.dispatch.victim(newcomer, below) else { break };
            if self.evict(&victim, outbox) {
                return;
            }
            self.shared.count(ControlCounter::VictimChanged);
        }
        self.shared.count(ControlCounter::VictimAbsent);
    }

    /// Ends a flow, unless it has changed since it was found to be one that may go.
    fn evict(&mut self, victim: &Victim, outbox: &mut Outbox) -> bool {
        let key = &victim.key;
        let unchanged = |filter: &Filter| victim.is_unchanged(filter);
        let Some(filter) = self.look_up(key).filter(unchanged) else { return false };
        let Some(tuple) = self.shared.dispatch.tuple(key) else { return false };
        if !matches!(self.shared.filters.delete(key), Ok(true)) {
            return false;
        }
        self.shared.dispatch.evicted(key.service(), filter.priority);
        self.shared.count(ControlCounter::FlowEvicted);
        let template = Template::of_flow(&tuple, filter.client_mac, self.shared.mac);
        reset_client(&template, filter.last_ack, outbox);
        probe_client(&template, &filter, outbox);
        self.reset_server(&template, filter.server, filter.next_seq, outbox);
        true
    }

    /// A request on a kept connection is refused: the client is told, the server's socket is closed.
    pub(super) fn refuse_kept(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some(filter) = self.look_up(&arrival.key).filter(|filter| filter.state == state::ESTABLISHED)
        else {
            return self.lost();
        };
        let refusal = self.shared.dispatch.refusal(arrival.key.service(), filter.priority);
        self.refuse_request(arrival, bytes, &filter, refusal, now, outbox)
    }

    /// Refuses a request of a flow that has a server, at both ends.
    pub(super) fn refuse_request(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        filter: &Filter,
        Refusal { way, retry_after }: Refusal,
        now: Now,
        outbox: &mut Outbox,
    ) -> Verdict {
        let frame = &arrival.frame;
        if !frame.checksum_holds(bytes) {
            return Verdict::Drop;
        }
        let template = Template::new(bytes, frame);
        match way {
            Way::Respond => {
                self.answer(arrival, bytes, Answer::Overloaded { retry_after }, now, outbox);
            }
            Way::Reset => {
                reset_client(&template, frame.ack, outbox);
                self.remove_filter(&arrival.key);
                self.shared.count(ControlCounter::RequestRefusedReset);
            }
            // Chosen a moment ago: the program will do so itself.
            Way::Drop => return self.refuse_in_silence(None),
        }
        if filter.state == state::ESTABLISHED {
            self.shared.dispatch.closed(arrival.key.service(), filter.priority);
        }
        self.reset_server(&template, filter.server, frame.seq, outbox);
        Verdict::Drop
    }

    /// A first request is refused with a RST.
    pub(super) fn refuse_with_reset(
        &mut self,
        arrival: &Arrival,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) -> Verdict {
        reset_client(&Template::new(bytes, &arrival.frame), arrival.frame.ack, outbox);
        self.remove_filter(&arrival.key);
        self.shared.count(ControlCounter::RequestRefusedReset);
        Verdict::Drop
    }

    /// A request is refused by saying nothing: the client sends it again, and a first request is judged anew then.
    pub(super) fn refuse_in_silence(&mut self, first: Option<&FlowKey>) -> Verdict {
        if let Some(key) = first {
            self.remove_filter(key);
        }
        self.shared.count(ControlCounter::RequestRefusedDropped);
        Verdict::Drop
    }

    /// Closes a server's socket. Segments reach it through us only, so the number is exact but for what was lost on the way.
    fn reset_server(&self, template: &Template, server: u16, seq: u32, outbox: &mut Outbox) {
        let Some(entry) = self.shared.usable_server(server) else { return };
        let segment = Segment { seq, ack: 0, flags: flags::RST, payload: &[] };
        outbox.build(Side::Server, |out| template.to_server(out, &entry, &segment, None));
    }
}

/// Makes a client say where it is, as a keep-alive probe does (RFC 9293 section 3.8.4): if an acknowledgement of its was lost, or was with
/// us when its filter was not ours to write, it took the RST for an old one. The program, which knows the flow no more, resets
/// it exactly then.
fn probe_client(template: &Template, filter: &Filter, outbox: &mut Outbox) {
    let seq = filter.last_ack.wrapping_sub(1);
    let segment = Segment { seq, ack: filter.next_seq, flags: flags::ACK, payload: &[] };
    outbox.build(Side::Client, |out| template.to_client(out, &segment, 0));
}

fn reset_client(template: &Template, seq: u32, outbox: &mut Outbox) {
    let segment = Segment { seq, ack: 0, flags: flags::RST, payload: &[] };
    outbox.build(Side::Client, |out| template.to_client(out, &segment, 0));
}

//! What is remembered of flows that were handed off here: the phase, and how long the first byte of a response takes.
//!
//! A flow waits, is answered, waits again (kept connections), and closes, or is released. A change of phase is a
//! compare-and-swap, so that ingress and egress on two CPUs cannot both count it. Which requests of a followed flow are under way
//! is `requests`' part of the entry, where its responses end `responses`'.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_ns};
use dispatcher_common::{
    counter::BackCounter,
    path_state::PathState,
    per_request,
    server::{CLASSES_REMEMBERED, ServerFlow, framing, phase},
    ticket::Ticket,
};
use dispatcher_ebpf::atomic;

use super::{
    maps::{self, FLOWS},
    segment::Segment,
    stats,
};

/// Tries of a compare-and-swap; what disturbs one is a single other CPU with the same flow's segment.
pub(super) const TRIES: u32 = 3;

/// Where the phase lies in the last word of an entry: held_at_arrival, class, phase, responded.
const PHASE_SHIFT: u32 = 48;

const _: () = assert!(core::mem::offset_of!(ServerFlow, held_at_arrival) == 24);
const _: () = assert!(core::mem::offset_of!(ServerFlow, phase) == 30);

/// An entry in the map, shared with other CPUs.
#[derive(Clone, Copy)]
pub(super) struct Flow(pub(super) *mut ServerFlow);

impl Flow {
    /// The entry of a segment's flow.
    #[inline(always)]
    pub(super) fn find(segment: &Segment) -> Option<Self> {
        FLOWS.get_ptr_mut(segment.flow_key()).map(Self)
    }

    /// Whether this very segment handed the flow off.
    #[inline(always)]
    pub(super) fn began_with(self, segment: &Segment) -> bool {
        // SAFETY: a map value; these two fields never change while the entry stands.
        unsafe { (*self.0).handoff_seq == segment.seq && (*self.0).handoff_ack == segment.ack }
    }

    /// Whether this segment handed the flow off to here before another server had it.
    #[inline(always)]
    pub(super) fn was_here(self, segment: &Segment) -> bool {
        // SAFETY: a map value; the field never changes while the entry stands.
        per_request::was_here(unsafe { &*self.0 }, segment.seq)
    }

    /// Whether this is the segment for which the flow is released.
    #[inline(always)]
    pub(super) fn is_release(self, segment: &Segment) -> bool {
        // SAFETY: a map value; both fields stand still while the phase says that they matter.
        per_request::is_release(unsafe { &*self.0 }, segment.seq, segment.ack)
    }

    /// What is told of the path to the client when the flow is released.
    #[inline(always)]
    pub(super) fn path(self) -> PathState {
        // SAFETY: a map value; the field stands still while the phase says that it matters.
        unsafe { (*self.0).path }
    }

    /// Where the request begins for which the flow was to be released, the latest time.
    #[inline(always)]
    pub(super) fn release_seq(self) -> u32 {
        // SAFETY: a map value; only `back` writes it.
        unsafe { (*self.0).release_seq }
    }

    /// Whether the flow may go with a segment's request.
    #[inline(always)]
    pub(super) fn is_free(self, socket: &per_request::Socket, number: u8, segment: &Segment) -> bool {
        // SAFETY: a map value. If the client has acknowledged all that was written, `back_out` has seen it, and writes no more.
        per_request::is_free(unsafe { &*self.0 }, socket, number, segment.seq, segment.ack)
    }

    /// Begins the release for a segment's request, unless another phase has come.
    #[inline(always)]
    pub(super) fn claim(self, segment: &Segment, path: PathState) -> bool {
        // SAFETY: a map value; nobody reads the fields before the phase changes.
        unsafe {
            (*self.0).release_seq = segment.seq;
            (*self.0).path = path;
        }
        self.note_seen();
        self.advance(phase::ANSWERED, phase::RETIRING)
    }

    /// Sequence numbers of the latest hand-offs, latest first.
    #[inline(always)]
    fn hand_offs(self) -> [u32; 4] {
        // SAFETY: a map value; neither field changes while the entry stands.
        let (latest, [a, b, c, _]) = unsafe { ((*self.0).handoff_seq, (*self.0).earlier) };
        [latest, a, b, c]
    }

    /// Calls the release off if the socket, alive, has gone on: the kernel has refused the RST, as a copy of the request was before it.
    #[inline(always)]
    pub(super) fn call_off(self, rcv_nxt: Option<u32>) -> bool {
        rcv_nxt.is_some_and(|rcv_nxt| rcv_nxt != self.release_seq())
            && self.advance(phase::RETIRING, phase::ANSWERED)
    }

    /// Notes that the flow is in use.
    #[inline(always)]
    pub(super) fn note_seen(self) {
        // SAFETY: a map value; the agent reads it only to forget old flows.
        unsafe { (*self.0).last_seen_ns = now_ns() };
    }

    /// Whether the server's socket has sent anything.
    #[inline(always)]
    pub(super) fn has_responded(self) -> bool {
        // SAFETY: a map value; the byte only ever goes from 0 to 1.
        unsafe { (*self.0).responded != 0 }
    }

    /// Notes that the server's socket sent something.
    #[inline(always)]
    pub(super) fn note_sent(self) {
        if !self.has_responded() {
            // SAFETY: a map value; the byte only ever goes from 0 to 1.
            unsafe { (*self.0).responded = 1 };
        }
    }

    /// New data of the client without a ticket: on an idle connection it is a further request.
    #[inline(always)]
    pub(super) fn take_request(self) {
        if self.phase() != phase::ANSWERED {
            return;
        }
        if self.is_followed() {
            self.take_unnumbered();
            return;
        }
        self.start();
        if self.advance(phase::ANSWERED, phase::WAITING) {
            stats::arrive(self.class());
            maps::count(BackCounter::RequestRepeated);
        }
    }

    /// Data of the server on a flow that is not followed: if a request waits, this is where its response begins.
    #[inline(always)]
    pub(super) fn take_response(self) {
        if self.phase() != phase::WAITING || !self.advance(phase::WAITING, phase::ANSWERED) {
            return;
        }
        stats::answer(self.class(), self.service_ns());
        maps::count(BackCounter::ResponseStarted);
    }

    /// The client will send no more. A request that waits may still be answered.
    #[inline(always)]
    pub(super) fn finish_requests(self) {
        if self.phase() == phase::ANSWERED {
            self.advance(phase::ANSWERED, phase::CLOSED);
        }
    }

    /// The connection ends; requests under way stay without a response.
    #[inline(always)]
    pub(super) fn close(self) {
        let is_followed = self.is_followed();
        match self.phase() {
            open @ (phase::ANSWERED | phase::RETIRING) => {
                self.advance(open, phase::CLOSED);
            }
            _ if self.advance(phase::WAITING, phase::CLOSED) && !is_followed => stats::abandon(self.class()),
            _ => {}
        }
        if is_followed {
            self.abandon();
        }
    }

    /// The connection ends for a new one of the same client. What the new one sends before its socket is there goes back, and what
    /// the kernel would answer is withheld, as if the old one had gone elsewhere.
    #[inline(always)]
    pub(super) fn give_way(self) {
        self.close();
        self.advance(phase::CLOSED, phase::RELEASED);
    }

    #[inline(always)]
    pub(super) fn start(self) {
        self.start_at(now_ns());
    }

    #[inline(always)]
    pub(super) fn start_at(self, now_ns: u64) {
        // SAFETY: a map value; written before the phase says that a request waits, or by the one who answers it.
        unsafe {
            (*self.0).started_ns = now_ns;
            (*self.0).last_seen_ns = now_ns;
            (*self.0).held_at_arrival = stats::held() + 1;
        }
    }

    /// Time since the current request arrived, by requests held then.
    #[inline(always)]
    pub(super) fn service_ns(self) -> u64 {
        self.service_ns_at(now_ns())
    }

    #[inline(always)]
    pub(super) fn service_ns_at(self, now_ns: u64) -> u64 {
        // SAFETY: a map value; the phase said that a request waited, so both fields are written.
        let (started_ns, held) = unsafe { ((*self.0).started_ns, (*self.0).held_at_arrival) };
        let waited_ns = now_ns.saturating_sub(started_ns);
        if held == 0 { waited_ns } else { waited_ns / held as u64 }
    }

    #[inline(always)]
    pub(super) fn class(self) -> u16 {
        // SAFETY: a map value; only `back` changes it.
        unsafe { (*self.0).class }
    }

    #[inline(always)]
    pub(super) fn phase(self) -> u8 {
        (self.load() >> PHASE_SHIFT) as u8
    }

    /// Moves from one phase to another, unless somebody else did.
    #[inline(always)]
    pub(super) fn advance(self, from: u8, to: u8) -> bool {
        for _ in 0..TRIES {
            let old = self.load();
            if (old >> PHASE_SHIFT) as u8 != from {
                return false;
            }
            let new = old & !(0xff << PHASE_SHIFT) | (to as u64) << PHASE_SHIFT;
            // SAFETY: the aligned last word of a map value.
            if unsafe { atomic::replace(self.word(), old, new) } {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: the aligned last word of a map value.
        unsafe { self.word().read_volatile() }
    }

    #[inline(always)]
    fn word(self) -> *mut u64 {
        // SAFETY: stays inside the map value.
        unsafe { (&raw mut (*self.0).held_at_arrival).cast() }
    }
}

/// A hand-off was accepted; tells whether for the first time. One whose connection never came to be (a full accept queue) is
/// taken up again.
#[inline(always)]
pub(super) fn begin(segment: &Segment, ticket: &Ticket, is_head: bool) -> bool {
    // A number that no later hand-off of the connection has.
    let mut earlier = [segment.seq.wrapping_sub(1); 4];
    if let Some(old) = Flow::find(segment) {
        let phase = old.phase();
        if old.began_with(segment) && phase == phase::WAITING {
            return false;
        }
        if phase == phase::RELEASED {
            earlier = old.hand_offs();
        }
        old.close();
    }
    insert(segment, ticket, is_head, earlier);
    true
}

#[inline(always)]
fn insert(segment: &Segment, ticket: &Ticket, is_head: bool, earlier: [u32; 4]) {
    let started_ns = now_ns();
    let flow = ServerFlow {
        started_ns,
        last_seen_ns: started_ns,
        handoff_seq: segment.seq,
        handoff_ack: segment.ack,
        held_at_arrival: stats::held() + 1,
        class: ticket.class,
        phase: phase::WAITING,
        responded: 0,
        next_at: segment.ack,
        release_seq: 0,
        heads: if is_head { 1 << (ticket.number % u32::BITS as u8) } else { 0 },
        framing: if ticket.followed { framing::HEAD } else { framing::OFF },
        arrived: ticket.number.wrapping_add(1),
        answered: ticket.number,
        path: ticket.path,
        classes: [ticket.class; CLASSES_REMEMBERED],
        earlier,
    };
    if FLOWS.insert(segment.flow_key(), flow, BPF_ANY as u64).is_ok() {
        stats::arrive(ticket.class);
    }
}

#[inline(always)]
pub(super) fn now_ns() -> u64 {
    // SAFETY: a helper without arguments. Not the coarse clock: its tick is 1 to 10 ms, a response takes microseconds.
    unsafe { bpf_ktime_get_ns() }
}

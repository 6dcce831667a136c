//! What is remembered and measured of flows that were handed off here: requests held, by class, and how long the first byte of
//! a response takes.
//!
//! A flow waits, is answered, waits again (kept connections), and closes. A change of phase is a compare-and-swap, so that
//! ingress and egress on two CPUs cannot both count it, and `HELD` goes up and down by the same steps. An evicted entry that
//! waited leaves `HELD` too high; the agent corrects that from time to time.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_ns};
use dispatcher_common::{
    counter::BackCounter,
    server::{CLASSES_REMEMBERED, ClassStats, ServerFlow, framing, phase},
};
use dispatcher_ebpf::atomic;

use super::{
    maps::{self, CLASS_STATS, FLOWS, HELD},
    segment::Segment,
};

/// Tries of a compare-and-swap; what disturbs one is a single other CPU with the same flow's segment.
const TRIES: u32 = 3;

/// Where the phase lies in the last word of an entry: held_at_arrival, class, phase, responded.
const PHASE_SHIFT: u32 = 48;

const _: () = assert!(core::mem::offset_of!(ServerFlow, held_at_arrival) == 24);
const _: () = assert!(core::mem::offset_of!(ServerFlow, phase) == 30);

/// An entry in the map, shared with other CPUs.
#[derive(Clone, Copy)]
pub(super) struct Flow(*mut ServerFlow);

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

    /// New data of the client: on an idle connection it is a further request.
    #[inline(always)]
    pub(super) fn take_request(self) {
        if self.phase() != phase::ANSWERED {
            return;
        }
        self.start();
        if self.advance(phase::ANSWERED, phase::WAITING) {
            arrive(self.class());
            maps::count(BackCounter::RequestRepeated);
        }
    }

    /// Data of the server: if a request waits, this is where its response begins.
    #[inline(always)]
    pub(super) fn take_response(self) {
        if self.phase() != phase::WAITING || !self.advance(phase::WAITING, phase::ANSWERED) {
            return;
        }
        let service_ns = self.service_ns();
        leave(self.class(), |stats| {
            stats.answered += 1;
            stats.service_ns += service_ns;
        });
        maps::count(BackCounter::ResponseStarted);
    }

    /// The client will send no more. A request that waits may still be answered.
    #[inline(always)]
    pub(super) fn finish_requests(self) {
        if self.phase() == phase::ANSWERED {
            self.advance(phase::ANSWERED, phase::CLOSED);
        }
    }

    /// The connection ends; a request that waits stays without a response.
    #[inline(always)]
    pub(super) fn close(self) {
        if self.phase() == phase::ANSWERED {
            self.advance(phase::ANSWERED, phase::CLOSED);
        } else if self.advance(phase::WAITING, phase::CLOSED) {
            leave(self.class(), |stats| stats.abandoned += 1);
        }
    }

    #[inline(always)]
    fn start(self) {
        // SAFETY: a map value; written before the phase says that a request waits.
        unsafe {
            (*self.0).started_ns = bpf_ktime_get_ns();
            (*self.0).last_seen_ns = (*self.0).started_ns;
            (*self.0).held_at_arrival = held() + 1;
        }
    }

    #[inline(always)]
    fn service_ns(self) -> u64 {
        // SAFETY: a map value; the phase said that a request waited, so both fields are written.
        let (started_ns, held) = unsafe { ((*self.0).started_ns, (*self.0).held_at_arrival) };
        let waited_ns = now_ns().saturating_sub(started_ns);
        if held == 0 { waited_ns } else { waited_ns / held as u64 }
    }

    #[inline(always)]
    fn class(self) -> u16 {
        // SAFETY: a map value; the class never changes while the entry stands.
        unsafe { (*self.0).class }
    }

    #[inline(always)]
    fn phase(self) -> u8 {
        (self.load() >> PHASE_SHIFT) as u8
    }

    /// Moves from one phase to another, unless somebody else did.
    #[inline(always)]
    fn advance(self, from: u8, to: u8) -> bool {
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
pub(super) fn begin(segment: &Segment, class: u16) -> bool {
    if let Some(old) = Flow::find(segment) {
        if old.began_with(segment) && old.phase() == phase::WAITING {
            return false;
        }
        old.close();
    }
    let started_ns = now_ns();
    let flow = ServerFlow {
        started_ns,
        last_seen_ns: started_ns,
        handoff_seq: segment.seq,
        handoff_ack: segment.ack,
        held_at_arrival: held() + 1,
        class,
        phase: phase::WAITING,
        responded: 0,
        next_at: segment.ack,
        release_seq: 0,
        heads: 0,
        framing: framing::OFF,
        arrived: 1,
        answered: 0,
        reserved: 0,
        classes: [class; CLASSES_REMEMBERED],
        earlier: [0; 4],
    };
    if FLOWS.insert(segment.flow_key(), flow, BPF_ANY as u64).is_ok() {
        arrive(class);
    }
    true
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments. Not the coarse clock: its tick is 1 to 10 ms, a response takes microseconds.
    unsafe { bpf_ktime_get_ns() }
}

// The agent's correction may cross a step of ours and leave the number negative for a moment.
#[inline(always)]
fn held() -> u32 {
    // SAFETY: an aligned map value.
    let held = HELD.get_ptr(0).map_or(0, |held| unsafe { held.read_volatile() }) as i64;
    if held < 0 { 0 } else { held as u32 }
}

#[inline(always)]
fn change_held(by: i64) {
    if let Some(held) = HELD.get_ptr_mut(0) {
        // SAFETY: an aligned map value.
        unsafe { atomic::add(held, by as u64) };
    }
}

#[inline(always)]
fn arrive(class: u16) {
    change_held(1);
    record(class, |stats| stats.arrived += 1);
}

#[inline(always)]
fn leave(class: u16, change: impl FnOnce(&mut ClassStats)) {
    change_held(-1);
    record(class, change);
}

#[inline(always)]
fn record(class: u16, change: impl FnOnce(&mut ClassStats)) {
    if let Some(stats) = CLASS_STATS.get_ptr_mut(class as u32) {
        // SAFETY: a per-CPU value; see `maps::count`.
        change(unsafe { &mut *stats });
    }
}

//! The requests that are under way on a flow that is followed: which arrive, which are answered, which are given up. Their numbers
//! are one word of the entry (`dispatcher_common::under_way`), changed at once; the class of each is beside it.
//!
//! A request with a ticket is counted where it arrives. One without, behind another in its segment or sent before the client had
//! the response to the one before, is counted at the head of its response, or on an idle connection like any new data.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use dispatcher_common::{
    counter::BackCounter,
    server::{CLASSES_REMEMBERED, ServerFlow, framing, phase},
    under_way::{MAX_UNDER_WAY, OFFSET, UnderWay, class_place},
};
use dispatcher_ebpf::atomic;

use super::{
    flow::{Flow, TRIES, now_ns},
    maps,
    segment::Segment,
    stats,
};

/// The beginning of a `HEAD` request, and as many bytes of any other.
const HEAD: [u8; 5] = *b"HEAD ";

/// A word before and after a change of it.
struct Change {
    old: UnderWay,
    new: UnderWay,
}

impl Flow {
    /// Whether the front-end follows the requests.
    #[inline(always)]
    pub(super) fn is_followed(self) -> bool {
        self.under_way().framing() != framing::OFF
    }

    #[inline(always)]
    pub(super) fn under_way(self) -> UnderWay {
        // SAFETY: an aligned word of a map value.
        UnderWay(unsafe { self.numbers().read_volatile() })
    }

    /// A further request has arrived with a ticket.
    #[inline(always)]
    pub(super) fn take_numbered(self, number: u8, class: u16, is_head: bool) {
        if !self.is_followed() {
            self.take_request();
            return;
        }
        let Some(Change { old, new }) = self.change(|word| word.arrive(number, is_head)) else { return };
        // SAFETY: a map value; only this program writes it.
        unsafe { (*self.0).class = class };
        let newcomers = new.count().wrapping_sub(old.count());
        if newcomers == 0 {
            return;
        }
        if old.count() == 0 {
            self.start();
        }
        arrive(self.0, new.arrived().wrapping_sub(newcomers), old.count(), newcomers, class);
        self.advance(phase::ANSWERED, phase::WAITING);
    }

    /// New data without a ticket has come, on an idle connection as far as the phase says.
    #[inline(always)]
    pub(super) fn take_unnumbered(self) {
        if self.under_way().count() != 0 {
            return;
        }
        self.start();
        let Some(Change { new, .. }) = self.change(UnderWay::arrive_unnumbered) else { return };
        let class = self.class();
        arrive(self.0, new.arrived().wrapping_sub(1), 0, 1, class);
        self.advance(phase::ANSWERED, phase::WAITING);
        maps::count(BackCounter::RequestRepeated);
    }

    /// The head of a response is on its way.
    #[inline(always)]
    pub(super) fn answer(self) {
        let Some(Change { old, new }) = self.change(UnderWay::answer) else { return };
        let class = if old.count() == 0 {
            stats::arrive(self.class());
            self.class()
        } else {
            class_of(self.0, old.answered())
        };
        let now_ns = now_ns();
        stats::answer(class, self.service_ns_at(now_ns));
        // The next one, if it is here already, is served from now on.
        self.start_at(now_ns);
        if new.count() == 0 {
            self.advance(phase::WAITING, phase::ANSWERED);
        }
        maps::count(BackCounter::ResponseStarted);
    }

    /// Something is on its way, no one knows of which response: of all that are under way.
    #[inline(always)]
    pub(super) fn answer_all(self) {
        let Some(Change { old, .. }) = self.change(UnderWay::settle) else { return };
        if old.count() != 0 {
            settle(self.0, old.answered(), old.count(), self.service_ns(), 0);
            self.advance(phase::WAITING, phase::ANSWERED);
            maps::count(BackCounter::ResponseStarted);
        }
    }

    /// Nothing will be answered any more.
    #[inline(always)]
    pub(super) fn abandon(self) {
        let Some(Change { old, .. }) = self.change(UnderWay::settle) else { return };
        if old.count() != 0 {
            settle(self.0, old.answered(), old.count(), 0, 1);
        }
    }

    /// Notes how responses go on; tells whether they are lost just now.
    #[inline(always)]
    pub(super) fn frame(self, framing: u8) -> bool {
        let change = self.change(|word| word.frame(framing));
        framing == framing::LOST && change.is_some_and(|change| change.old.framing() != framing::LOST)
    }

    #[inline(always)]
    fn change(self, step: impl Fn(UnderWay) -> UnderWay) -> Option<Change> {
        for _ in 0..TRIES {
            let old = self.under_way();
            let new = step(old);
            // SAFETY: an aligned word of a map value.
            if old == new || unsafe { atomic::replace(self.numbers(), old.0, new.0) } {
                return Some(Change { old, new });
            }
        }
        None
    }

    #[inline(always)]
    fn numbers(self) -> *mut u64 {
        // SAFETY: stays inside the map value.
        unsafe { self.0.byte_add(OFFSET).cast() }
    }
}

/// Whether a segment begins with a `HEAD` request.
#[inline(always)]
pub(super) fn is_head(skb: *mut __sk_buff, segment: &Segment) -> bool {
    let mut begin = [0_u8; 8];
    // SAFETY: the helper fills the first bytes, or fails.
    let status = unsafe {
        bpf_skb_load_bytes(skb.cast(), segment.payload_offset(), (&raw mut begin).cast(), HEAD.len() as u32)
    };
    let [a, b, c, d, e] = HEAD;
    status == 0 && u64::from_ne_bytes(begin) == u64::from_ne_bytes([a, b, c, d, e, 0, 0, 0])
}

#[inline(always)]
fn class_of(flow: *mut ServerFlow, number: u8) -> u16 {
    // SAFETY: a map value; the place is inside the array, and not written while its request is under way.
    unsafe { (*flow).classes[class_place(number)] }
}

/// Counts `count` requests of a class from number `first` on, behind `before` others. One whose place is taken counts as the
/// request that has it, or the two would leave as another class than they came.
#[inline(never)]
fn arrive(flow: *mut ServerFlow, first: u8, before: u8, count: u8, class: u16) {
    let mut number = first;
    for done in 0..MAX_UNDER_WAY {
        if done >= count {
            break;
        }
        if (before + done) < CLASSES_REMEMBERED as u8 {
            // SAFETY: as in `class_of`; its request is not passed on yet.
            unsafe { (*flow).classes[class_place(number)] = class };
        }
        stats::arrive(class_of(flow, number));
        number = number.wrapping_add(1);
    }
}

/// Counts `count` requests from number `first` on that are answered, or, with `gives_up`, abandoned.
#[inline(never)]
fn settle(flow: *mut ServerFlow, first: u8, count: u8, service_ns: u64, gives_up: u8) {
    let mut number = first;
    for done in 0..MAX_UNDER_WAY {
        if done >= count {
            break;
        }
        let class = class_of(flow, number);
        if gives_up != 0 {
            stats::abandon(class)
        } else {
            stats::answer(class, service_ns)
        }
        number = number.wrapping_add(1);
    }
}

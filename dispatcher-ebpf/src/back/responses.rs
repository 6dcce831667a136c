//! Where the responses of a followed flow end: the walk of `dispatcher_common::response_walk` over what the server sends, and what
//! it says of the flow. Only heads and chunk heads are read, of bodies no byte.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_loop, generated::bpf_skb_load_bytes},
};
use dispatcher_common::{
    counter::BackCounter,
    per_request::is_after,
    response_scan::MAX_HEAD,
    response_walk::{Data, MAX_STEPS, Next, ResponseWalk},
    server::framing,
    words::{BLOCK, Words},
};
use dispatcher_ebpf::text::Text;

use super::{flow::Flow, maps, segment::Segment};

const _: () = assert!(MAX_HEAD <= Text::MAX_LEN);

/// What a walk needs that has no room on the stack. In a map also because the verifier does not follow numbers there: else it would
/// take each step once for every value of them.
#[repr(C)]
pub(super) struct Following {
    walk: ResponseWalk,
    /// Offset of the payload in the frame.
    payload: u64,
    text: Text,
}

/// A walk on its way.
#[repr(C)]
struct Walk {
    skb: *mut __sk_buff,
    flow: Flow,
    following: &'static mut Following,
    ended: u64,
}

/// Data and the packet that it is read from.
struct Payload<'a> {
    skb: *mut __sk_buff,
    offset: u64,
    text: &'a mut Text,
}

/// A segment of the server with data, of a flow that is followed.
#[inline(always)]
pub(super) fn follow(skb: *mut __sk_buff, segment: &Segment, flow: Flow) {
    let framing = flow.under_way().framing();
    if framing == framing::LOST {
        flow.answer_all();
    } else if is_after(segment.end(), flow.next_at()) {
        walk(skb, segment, flow, framing);
    }
}

#[inline(always)]
fn walk(skb: *mut __sk_buff, segment: &Segment, flow: Flow, framing: u8) {
    let Some(following) = maps::following() else { return };
    following.walk.start(flow.next_at(), framing, segment.seq, segment.end());
    following.payload = segment.payload_offset() as u64;
    let mut walk = Walk { skb, flow, following, ended: 0 };
    let step: unsafe extern "C" fn(u64, *mut Walk) -> i64 = step;
    // SAFETY: `step` takes an index and what is given here, which outlives the call.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, (&raw mut walk).cast(), 0) };
    let ResponseWalk { next_at, framing, .. } = walk.following.walk;
    flow.set_next_at(next_at);
    if flow.frame(if walk.ended == 0 { framing::LOST } else { framing as u8 }) {
        maps::count(BackCounter::ResponseLost);
        flow.answer_all();
    }
}

/// Takes one step; 1 ends the walk.
///
/// # Safety
/// `walk` is valid, and nobody else's.
unsafe extern "C" fn step(_: u64, walk: *mut Walk) -> i64 {
    // SAFETY: by contract.
    let Walk { skb, flow, following, ended } = unsafe { &mut *walk };
    let Following { walk, payload, text } = following;
    let mut payload = Payload { skb: *skb, offset: *payload, text };
    match walk.step(&mut payload, flow.under_way().is_head()) {
        Next::More => 0,
        Next::Answered => {
            flow.answer();
            0
        }
        Next::Done => {
            *ended = 1;
            1
        }
        Next::Lost => 1,
    }
}

impl Flow {
    #[inline(always)]
    pub(super) fn next_at(self) -> u32 {
        // SAFETY: a map value; only `back_out` writes it, one segment of a socket after the other.
        unsafe { (*self.0).next_at }
    }

    #[inline(always)]
    fn set_next_at(self, next_at: u32) {
        // SAFETY: as above.
        unsafe { (*self.0).next_at = next_at };
    }
}

impl Data for Payload<'_> {
    #[inline(always)]
    fn load(&mut self, offset: u32, len: u32) -> bool {
        let (skb, from) = (self.skb, (self.offset as u32).wrapping_add(offset));
        // SAFETY: there is room for so many bytes.
        self.text.take(len, |to, len| unsafe { bpf_skb_load_bytes(skb.cast(), from, to.cast(), len) == 0 })
    }
}

impl Words for Payload<'_> {
    #[inline(always)]
    fn word(&self, at: u64) -> Option<u64> {
        self.text.word(at)
    }

    #[inline(always)]
    fn block(&self, at: u64) -> Option<[u64; BLOCK]> {
        self.text.block(at)
    }
}

//! Marks of segments that were queued again to ingress: how often, or that it is a reset of ours. Taken off first, before any
//! rule of the host's sees the segment.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_clone_redirect};

const BASE: u32 = 0xd15b_a600;
const LOW: u32 = 0xff;

/// In place of a count.
const RESET: u32 = 0xff;

/// Times that a segment is queued again: more than what is queued before it needs.
const MAX_TIMES: u32 = 8;

/// `BPF_F_INGRESS` of `bpf_clone_redirect`.
const TO_INGRESS: u64 = 1;

/// The mark of a segment, 0 without one.
#[derive(Clone, Copy)]
pub(super) struct Mark(u32);

impl Mark {
    /// Takes the mark off. A mark of somebody else's stays and is none.
    #[inline(always)]
    pub(super) fn take(skb: *mut __sk_buff) -> Self {
        // SAFETY: a readable and writable field of the program's own context.
        unsafe {
            let mark = (*skb).mark;
            if mark & !LOW != BASE {
                return Self(0);
            }
            (*skb).mark = 0;
            Self(mark & LOW)
        }
    }

    /// Whether the segment is a reset that makes way for the release of its connection.
    #[inline(always)]
    pub(super) const fn is_reset(self) -> bool {
        self.0 == RESET
    }

    /// Whether the segment was queued again.
    #[inline(always)]
    pub(super) const fn is_queued_again(self) -> bool {
        self.0 != 0 && self.0 != RESET
    }

    /// Queues a clone of the segment again, unless that was done too often; the caller drops the original.
    #[inline(always)]
    pub(super) fn queue_again(self, skb: *mut __sk_buff) -> bool {
        if self.0 >= MAX_TIMES {
            return false;
        }
        queue(skb, BASE | (self.0 + 1));
        true
    }
}

/// Queues a clone of the segment as a reset of ours.
#[inline(always)]
pub(super) fn queue_reset(skb: *mut __sk_buff) {
    queue(skb, BASE | RESET);
}

/// Queues a clone that bears no mark.
#[inline(always)]
pub(super) fn queue_unmarked(skb: *mut __sk_buff) {
    queue(skb, 0);
}

// Clones are processed in order, after what has come by now.
#[inline(always)]
fn queue(skb: *mut __sk_buff, mark: u32) {
    // SAFETY: a writable field of the program's own context, and a helper call on it.
    unsafe {
        (*skb).mark = mark;
        bpf_clone_redirect(skb, (*skb).ifindex, TO_INGRESS);
    }
}

//! Marks of segments that were queued again to ingress: how often. Taken off first, before any rule of the host's sees the segment.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_clone_redirect};

const BASE: u32 = 0xd15b_a600;
const LOW: u32 = 0xff;

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

    /// Whether the segment was queued again.
    #[inline(always)]
    pub(super) const fn is_queued_again(self) -> bool {
        self.0 != 0
    }

    /// Queues a clone of the segment again, unless that was done too often. Clones are processed in order, after what has come by now.
    #[inline(always)]
    pub(super) fn queue_again(self, skb: *mut __sk_buff) -> bool {
        if self.0 >= MAX_TIMES {
            return false;
        }
        // SAFETY: a writable field of the program's own context, and a helper call on it.
        unsafe {
            (*skb).mark = BASE | (self.0 + 1);
            bpf_clone_redirect(skb, (*skb).ifindex, TO_INGRESS);
            (*skb).mark = 0;
        }
        true
    }
}

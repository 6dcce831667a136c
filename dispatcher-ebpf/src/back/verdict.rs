//! What a program does with a packet, and the counter that says so.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::generated::bpf_redirect,
};
use dispatcher_common::counter::BackCounter;

use super::maps;

/// `TC_ACT_UNSPEC`, which TCX calls `TCX_NEXT`: on to the next program of the hook, or else to the kernel.
const NEXT: i32 = -1;

/// The way a packet leaves a program.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Pass(BackCounter),
    Drop(BackCounter),
    /// Out by the interface that it came from, as it is now.
    SendBack(BackCounter),
}

impl Verdict {
    /// Counts the packet and gives the code that the kernel wants.
    #[inline(always)]
    pub(super) fn leave(self, skb: *mut __sk_buff) -> i32 {
        match self {
            Self::Pass(counter) => {
                maps::count(counter);
                NEXT
            }
            Self::Drop(counter) => {
                maps::count(counter);
                TC_ACT_SHOT
            }
            Self::SendBack(counter) => {
                maps::count(counter);
                // SAFETY: a helper call; the field is one of the program's own context.
                unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
            }
        }
    }
}

//! What a program does with a packet, and the counter that says so.

use aya_ebpf::bindings::TC_ACT_SHOT;
use dispatcher_common::counter::BackCounter;

use super::maps;

/// `TC_ACT_UNSPEC`, which TCX calls `TCX_NEXT`: on to the next program of the hook, or else to the kernel.
const NEXT: i32 = -1;

/// The way a packet leaves a program.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Pass(BackCounter),
    Drop(BackCounter),
}

impl Verdict {
    /// Counts the packet and gives the code that the kernel wants.
    #[inline(always)]
    pub(super) fn leave(self) -> i32 {
        match self {
            Self::Pass(counter) => {
                maps::count(counter);
                NEXT
            }
            Self::Drop(counter) => {
                maps::count(counter);
                TC_ACT_SHOT
            }
        }
    }
}

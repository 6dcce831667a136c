//! How a frame leaves the program.

use aya_ebpf::bindings::xdp_action;
use dispatcher_common::counter::FrontCounter;

/// What becomes of a frame and the one counter that says why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) action: u32,
    pub(super) counter: FrontCounter,
}

impl Verdict {
    /// Not ours: to the kernel, untouched.
    pub(super) const PASS: Self = Self { action: xdp_action::XDP_PASS, counter: FrontCounter::OtherPassed };

    #[inline(always)]
    pub(super) const fn drop(counter: FrontCounter) -> Self {
        Self { action: xdp_action::XDP_DROP, counter }
    }

    /// Out of the interface that it came in by.
    #[inline(always)]
    pub(super) const fn transmit(counter: FrontCounter) -> Self {
        Self { action: xdp_action::XDP_TX, counter }
    }

    /// To where a redirect map just pointed.
    #[inline(always)]
    pub(super) const fn redirect(counter: FrontCounter) -> Self {
        Self { action: xdp_action::XDP_REDIRECT, counter }
    }
}

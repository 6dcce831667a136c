//! How a frame leaves the program.

use core::num::NonZeroU64;

use aya_ebpf::bindings::xdp_action;
use dispatcher_common::counter::FrontCounter;

/// What becomes of a frame and the one counter that says why, in one register: functions of their own return it. The action
/// is in the lower half, the counter in the upper. Never zero, so that an `Option` of it fits the register too.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict(NonZeroU64);

impl Verdict {
    /// Not ours: to the kernel, untouched.
    pub(super) const PASS: Self = Self::new(xdp_action::XDP_PASS, FrontCounter::OtherPassed);

    #[inline(always)]
    const fn new(action: u32, counter: FrontCounter) -> Self {
        match NonZeroU64::new(action as u64 | (counter.index() as u64) << 32) {
            Some(verdict) => Self(verdict),
            // `XDP_ABORTED` is not among our actions.
            None => panic!(),
        }
    }

    #[inline(always)]
    pub(super) const fn drop(counter: FrontCounter) -> Self {
        Self::new(xdp_action::XDP_DROP, counter)
    }

    /// Out of the interface that it came in by.
    #[inline(always)]
    pub(super) const fn transmit(counter: FrontCounter) -> Self {
        Self::new(xdp_action::XDP_TX, counter)
    }

    /// To where a redirect map just pointed.
    #[inline(always)]
    pub(super) const fn redirect(counter: FrontCounter) -> Self {
        Self::new(xdp_action::XDP_REDIRECT, counter)
    }

    #[inline(always)]
    pub(super) const fn action(self) -> u32 {
        self.0.get() as u32
    }

    /// Index of the counter.
    #[inline(always)]
    pub(super) const fn counter(self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

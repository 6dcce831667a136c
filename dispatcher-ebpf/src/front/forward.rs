//! Sending a frame to its server: twelve bytes of link-layer addresses, then out.

use dispatcher_common::{counter::FrontCounter, settings::FrontSettings};
use dispatcher_ebpf::frame::Frame;

use super::{maps, verdict::Verdict};

/// Whether a server's link-layer address is known.
#[inline(always)]
pub(super) fn is_usable(server: u16) -> bool {
    maps::server(server).is_some_and(|entry| entry.usable != 0)
}

/// Sends the frame to a server, one-arm or two-arm.
#[inline(always)]
pub(super) fn to_server(
    frame: Frame,
    settings: &FrontSettings,
    server: u16,
    counter: FrontCounter,
) -> Verdict {
    const UNUSABLE: Verdict = Verdict::drop(FrontCounter::ServerUnusableDropped);
    let Some(entry) = maps::server(server) else { return UNUSABLE };
    if entry.usable == 0 || frame.write(0, entry.words()).is_none() {
        return UNUSABLE;
    }
    if settings.two_arm == 0 {
        maps::count_traffic(server, frame.len_bytes());
        return Verdict::transmit(counter);
    }
    if !maps::redirect_out() {
        return UNUSABLE;
    }
    maps::count_traffic(server, frame.len_bytes());
    Verdict::redirect(counter)
}

//! Cookies of a segment's flow: making one, judging one, and the clock of the timestamps that go with it.

use dispatcher_common::{
    cookie::{self, Check},
    epoch::Epoch,
    path_state::{PathState, TICK_SHIFT},
    siphash::SipKey,
    syn_options::SynOptions,
    tuple::Tuple,
};
use dispatcher_ebpf::tcp_options::{TcpOptions, forget};

use super::{clock, segment::Segment};

/// The sequence number of our answer to a SYN.
#[inline(always)]
pub(super) fn cookie(segment: &Segment<'_>, options: SynOptions) -> u32 {
    let packet = segment.packet;
    make_outlined(&segment.settings.cookie_key, &packet.tuple, options.0, packet.seq, segment.epoch().0)
}

/// [`cookie::make`]. Not inlined for its stack.
#[inline(never)]
fn make_outlined(key: &SipKey, tuple: &Tuple, options: u8, isn: u32, epoch: u32) -> u32 {
    cookie::make(key, tuple, SynOptions(options), isn, Epoch(epoch))
}

/// Judges the cookie that a segment acknowledges, for a client that began at `isn`.
#[inline(always)]
pub(super) fn check(segment: &Segment<'_>, isn: u32) -> Check {
    let packet = segment.packet;
    let cookie = packet.ack.wrapping_sub(1);
    let key = &segment.settings.cookie_key;
    cookie::in_either_epoch(segment.epoch(), |Epoch(epoch)| {
        match check_outlined(key, &packet.tuple, cookie, isn, epoch) {
            FOREIGN => Check::Foreign,
            OTHER_ISN => Check::OtherIsn,
            options => Check::Good(SynOptions(options as u8)),
        }
    })
}

const FOREIGN: u64 = 1 << 9;
const OTHER_ISN: u64 = 1 << 8;

/// [`cookie::check_epoch`]. Not inlined: SipHash for each epoch and each of several callers would fit neither
/// the stack nor the instruction cache.
#[inline(never)]
fn check_outlined(key: &SipKey, tuple: &Tuple, cookie: u32, isn: u32, epoch: u32) -> u64 {
    match cookie::check_epoch(key, tuple, cookie, isn, Epoch(epoch)) {
        Check::Foreign => FOREIGN,
        Check::OtherIsn => OTHER_ISN,
        Check::Good(options) => options.0 as u64,
    }
}

/// Our `TSval` until a server takes over, in steps of 1.05 ms: a shift, where milliseconds would be a division.
///
/// Any clock will do, because the server goes on where the client's echo is: `bpf_sk_assign_tcp_reqsk` sets the offset of its
/// timestamps to `rcv_tsecr` of the ticket's segment less its own clock (net/core/filter.c, Linux 6.9), and the client echoes
/// nothing newer than what we sent. So its first `TSval` is never older than ours and passes the client's PAWS check.
#[inline(always)]
pub(super) fn timestamp() -> u32 {
    (clock::now_ns() >> TICK_SHIFT) as u32
}

/// What the first request tells of the path to its client.
///
/// Forgotten as soon as found: else the verifier goes on with each of the steps on its own.
#[inline(always)]
pub(super) fn path(segment: &Segment<'_>) -> PathState {
    let Segment { frame, packet, .. } = *segment;
    match TcpOptions::echo_alone(frame, packet) {
        Some(echo) => {
            let PathState(steps) = PathState::of_handshake(timestamp(), echo);
            PathState(forget(steps as u64, frame.len_bytes() as u64) as u8)
        }
        None => PathState::UNKNOWN,
    }
}

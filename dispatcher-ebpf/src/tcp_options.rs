//! The TCP options that matter here (RFC 9293 3.2, RFC 7323, RFC 2018), in any order that a client chooses.

use crate::{frame::Frame, header::TCP_LEN, packet::Packet};

/// Options looked at, no-operations included: real stacks send at most nine. The verifier walks every one of them.
const MAX_OPTIONS: usize = 16;

/// Changes no position in the list, which has at most 40 bytes, but bounds it for the verifier.
const POSITION_MASK: usize = 63;

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// Two no-operations, kind and length of timestamps, as they lie in a packet.
const TIMESTAMPS_FIRST: u32 =
    u32::from_ne_bytes([kind::NO_OPERATION, kind::NO_OPERATION, kind::TIMESTAMPS, 10]);

const HAS_MSS: u64 = 1 << 56;
const HAS_SCALE: u64 = 1 << 57;
const HAS_SACK: u64 = 1 << 58;
const HAS_TIMESTAMPS: u64 = 1 << 59;

/// What a segment's options say, packed in one register so that a function of its own can return it: `TSval` as it lies in
/// the packet (32 bits), MSS in host byte order (16), window scale (8), presence bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions(u64);

impl TcpOptions {
    /// Reads the options of a well-formed packet; an option with an impossible length ends the list.
    #[inline(always)]
    #[must_use]
    pub fn parse(frame: Frame, packet: &Packet) -> Self {
        let start = packet.tcp_offset();
        Self(scan(frame, start + TCP_LEN, packet.header_len - TCP_LEN))
    }

    /// Whether a well-formed packet has timestamps. Most put them first and alone (RFC 7323 appendix A), which one compare tells.
    #[inline(always)]
    #[must_use]
    pub fn has_timestamps(frame: Frame, packet: &Packet) -> bool {
        Self::is_alone(frame, packet) || Self::parse(frame, packet).timestamp_be().is_some()
    }

    /// `TSecr` of a well-formed packet whose timestamps are first and alone, in host byte order.
    #[inline(always)]
    #[must_use]
    pub fn echo_alone(frame: Frame, packet: &Packet) -> Option<u32> {
        if !Self::is_alone(frame, packet) {
            return None;
        }
        frame.read(packet.tcp_offset() + TCP_LEN + 8).map(u32::from_be)
    }

    #[inline(always)]
    fn is_alone(frame: Frame, packet: &Packet) -> bool {
        packet.header_len == TCP_LEN + 12 && packet.first_option(frame) == Some(TIMESTAMPS_FIRST)
    }

    #[inline(always)]
    #[must_use]
    pub const fn mss(self) -> Option<u16> {
        if self.0 & HAS_MSS != 0 { Some((self.0 >> 32) as u16) } else { None }
    }

    #[inline(always)]
    #[must_use]
    pub const fn window_scale(self) -> Option<u8> {
        if self.0 & HAS_SCALE != 0 { Some((self.0 >> 48) as u8) } else { None }
    }

    #[inline(always)]
    #[must_use]
    pub const fn sack_permitted(self) -> bool {
        self.0 & HAS_SACK != 0
    }

    /// `TSval` of the timestamps option, as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn timestamp_be(self) -> Option<u32> {
        if self.0 & HAS_TIMESTAMPS != 0 { Some(self.0 as u32) } else { None }
    }
}

/// Walks the `len` bytes of options from an offset on.
///
/// Not inlined: three callers would have the verifier walk three copies of the loop.
#[inline(never)]
fn scan(frame: Frame, start: usize, len: usize) -> u64 {
    let unknown = frame.len_bytes() as u64;
    let mut found = 0;
    let mut at = 0;
    for _ in 0..MAX_OPTIONS {
        at = forget(at as u64, unknown) as usize & POSITION_MASK;
        if at >= len {
            break;
        }
        let Some([kind, option_len]) = frame.read::<[u8; 2]>(start + at) else { break };
        if kind == kind::NO_OPERATION {
            at += 1;
            continue;
        }
        let next = at + option_len as usize;
        if kind == kind::END || option_len < 2 || next > len {
            break;
        }
        found = forget(found | option(frame, kind, option_len, start + at).unwrap_or(0), unknown);
        at = next;
    }
    found
}

#[inline(always)]
fn option(frame: Frame, kind: u8, len: u8, start: usize) -> Option<u64> {
    Some(match (kind, len) {
        (kind::MSS, 4) => HAS_MSS | (u16::from_be(frame.read(start + 2)?) as u64) << 32,
        (kind::WINDOW_SCALE, 3) => HAS_SCALE | (frame.read::<[u8; 2]>(start + 1)?[1] as u64) << 48,
        (kind::SACK_PERMITTED, 2) => HAS_SACK,
        (kind::TIMESTAMPS, 10) => HAS_TIMESTAMPS | frame.read::<u32>(start + 2)? as u64,
        _ => 0,
    })
}

/// The same number, of which the verifier knows nothing any more: added to and taken from a length that it does not know.
/// Else it follows each sum of option lengths and each set of options found on its own, a million instructions and more; so,
/// every round begins like the one before and is walked once.
#[inline(always)]
pub fn forget(number: u64, unknown: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: changes nothing, in the end not even its operand.
        unsafe {
            core::arch::asm!(
                "{number} += {unknown}",
                "{number} -= {unknown}",
                number = inout(reg) number,
                unknown = in(reg) unknown,
                options(pure, nomem, nostack),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = unknown;
        number
    }
}

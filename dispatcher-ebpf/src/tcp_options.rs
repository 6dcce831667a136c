//! The TCP options that matter here (RFC 9293 3.2, RFC 7323, RFC 2018), in any order that a client chooses.

use crate::{frame::Frame, header::TCP_LEN, packet::Packet};

/// Options looked at, no-operations included: real stacks send at most nine. The verifier walks every one of them.
const MAX_OPTIONS: usize = 16;

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const TIMESTAMPS: u8 = 8;
}

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
        Self(scan(frame, start + TCP_LEN, start + packet.header_len))
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

/// Not inlined: three callers would have the verifier walk three copies of the loop.
#[inline(never)]
fn scan(frame: Frame, mut at: usize, end: usize) -> u64 {
    let mut found = 0;
    for _ in 0..MAX_OPTIONS {
        if at >= end {
            break;
        }
        let Some(kind) = frame.read::<u8>(at) else { break };
        if kind == kind::NO_OPERATION {
            at += 1;
            continue;
        }
        let Some(len) = frame.read::<u8>(at + 1) else { break };
        if kind == kind::END || len < 2 {
            break;
        }
        found |= option(frame, kind, len, at + 2).unwrap_or(0);
        at += len as usize;
    }
    found
}

#[inline(always)]
fn option(frame: Frame, kind: u8, len: u8, at: usize) -> Option<u64> {
    Some(match (kind, len) {
        (kind::MSS, 4) => HAS_MSS | (u16::from_be(frame.read(at)?) as u64) << 32,
        (kind::WINDOW_SCALE, 3) => HAS_SCALE | (frame.read::<u8>(at)? as u64) << 48,
        (kind::SACK_PERMITTED, 2) => HAS_SACK,
        (kind::TIMESTAMPS, 10) => HAS_TIMESTAMPS | frame.read::<u32>(at)? as u64,
        _ => 0,
    })
}

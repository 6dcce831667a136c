//! A TCP segment and the addresses it travels between, as plain data.

use std::net::SocketAddr;

use super::options::{self, TcpOption};

/// TCP flags, as they lie in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    pub const FIN: Self = Self(1);
    pub const SYN: Self = Self(2);
    pub const RST: Self = Self(4);
    pub const PSH: Self = Self(8);
    pub const ACK: Self = Self(16);

    /// Both sets of flags.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One segment; both addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub window: u16,
    /// Encoded options; filled up with zeros to a multiple of four bytes when sent.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub hop_limit: u8,
}

impl Segment {
    /// The options, as far as they are well formed.
    #[must_use]
    pub fn parsed_options(&self) -> Vec<TcpOption> {
        options::decode_options(&self.options)
    }

    /// MSS option, if there is one.
    #[must_use]
    pub fn mss(&self) -> Option<u16> {
        self.parsed_options().iter().find_map(|option| match option {
            TcpOption::Mss(mss) => Some(*mss),
            _ => None,
        })
    }

    /// Window-scale option, if there is one.
    #[must_use]
    pub fn window_scale(&self) -> Option<u8> {
        self.parsed_options().iter().find_map(|option| match option {
            TcpOption::WindowScale(scale) => Some(*scale),
            _ => None,
        })
    }

    /// Value and echo of the timestamps option, if there is one.
    #[must_use]
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.parsed_options().iter().find_map(|option| match option {
            TcpOption::Timestamps(value, echo) => Some((*value, *echo)),
            _ => None,
        })
    }

    /// Whether SACK is permitted by option.
    #[must_use]
    pub fn permits_sack(&self) -> bool {
        self.parsed_options().contains(&TcpOption::SackPermitted)
    }

    /// Sequence space that the segment takes.
    #[must_use]
    pub fn length(&self) -> u32 {
        let flag = |flag| u32::from(self.flags.has(flag));
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX) + flag(Flags::SYN) + flag(Flags::FIN)
    }
}

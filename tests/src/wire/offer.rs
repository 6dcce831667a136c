//! What the scripted client's SYN offers.

use super::options::{TcpOption, encode_options};

/// Options of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack: bool,
    pub timestamps: bool,
}

impl Offer {
    /// As a Linux client on an Ethernet offers.
    pub const LINUX: Self = Self { mss: Some(1460), window_scale: Some(7), sack: true, timestamps: true };

    /// No options at all.
    pub const NONE: Self = Self { mss: None, window_scale: None, sack: false, timestamps: false };

    /// The options' bytes; `now` is the timestamp to send.
    #[must_use]
    pub fn encode(&self, now: u32) -> Vec<u8> {
        let mut options = Vec::new();
        options.extend(self.mss.map(TcpOption::Mss));
        if self.sack {
            options.push(TcpOption::SackPermitted);
        }
        if self.timestamps {
            options.push(TcpOption::Timestamps(now, 0));
        }
        if let Some(scale) = self.window_scale {
            options.extend([TcpOption::Nop, TcpOption::WindowScale(scale)]);
        }
        encode_options(&options)
    }
}

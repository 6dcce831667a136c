//! Segments of the server, as its client would get them.

use super::lab::SERVER_MAC;

/// What matters of a segment. Its checksum is left to a network card that a veth pair has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Answer {
    /// Reads a frame; none if it is not TCP from the server.
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        if frame[6..12] != SERVER_MAC {
            return None;
        }
        let tcp = match (&frame[12..14], frame[23], frame[20]) {
            ([0x08, 0x00], 6, _) => &frame[34..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))],
            ([0x86, 0xdd], _, 6) => &frame[54..54 + usize::from(u16::from_be_bytes([frame[18], frame[19]]))],
            _ => return None,
        };
        let header_len = usize::from(tcp[12] >> 4) * 4;
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        Some(Self {
            port: u16::from_be_bytes([tcp[2], tcp[3]]),
            seq: word(4),
            ack: word(8),
            flags: tcp[13],
            options: tcp[20..header_len].to_vec(),
            payload: tcp[header_len..].to_vec(),
        })
    }

    /// `TSval` and `TSecr`, where Linux puts them: after two no-operations.
    pub(crate) fn timestamps(&self) -> Option<(u32, u32)> {
        let values = self.options.strip_prefix(&[1, 1, 8, 10])?;
        let word = |at: usize| Some(u32::from_be_bytes(values.get(at..at + 4)?.try_into().ok()?));
        Some((word(0)?, word(4)?))
    }
}

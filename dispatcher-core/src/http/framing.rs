//! How long the body is and whether the connection ends after it: `Content-Length`, `Transfer-Encoding` and
//! `Connection` (RFC 9112 6, 9.3). Owns the rules against request smuggling; does not read the body.

use super::{Refusal, Version, scan::is_token};

/// The body that follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither field: no body.
    None,
    /// So many bytes, from `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding` ends in `chunked`.
    Chunked,
}

/// Collects the framing fields of one head.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Framing {
    length: Option<u64>,
    /// Some coding was named; whether the last so far is `chunked`.
    coding: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits = trim(value);
        if self.length.is_some() {
            return Err(Refusal::LengthRepeated);
        }
        self.length = Some(decimal(digits).ok_or(Refusal::LengthInvalid)?);
        Ok(())
    }

    /// Several field lines are one list (RFC 9110 5.3), so the state goes on from line to line.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for coding in value.split(|&b| b == b',').map(trim) {
            let name = coding.split(|&b| b == b';').next().map(trim).unwrap_or_default();
            let after_chunked = self.coding == Some(true);
            if name.is_empty() || !name.iter().copied().all(is_token) || after_chunked {
                return Err(Refusal::Coding);
            }
            let chunked = name.eq_ignore_ascii_case(b"chunked");
            if chunked && name.len() != coding.len() {
                return Err(Refusal::Coding);
            }
            self.coding = Some(chunked);
        }
        Ok(())
    }

    pub(super) fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&b| b == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    pub(super) fn body(&self, version: Version) -> Result<BodyLength, Refusal> {
        match (self.coding, self.length) {
            (Some(_), Some(_)) => Err(Refusal::LengthWithCoding),
            (Some(_), None) if version == Version::Http10 => Err(Refusal::CodingInOldVersion),
            (Some(false), None) => Err(Refusal::Coding),
            (Some(true), None) => Ok(BodyLength::Chunked),
            (None, Some(length)) => Ok(BodyLength::Length(length)),
            (None, None) => Ok(BodyLength::None),
        }
    }

    pub(super) fn wants_close(&self, version: Version) -> bool {
        self.close || (version == Version::Http10 && !self.keep_alive)
    }
}

/// Strips optional whitespace (RFC 9110 5.6.3).
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

//! Signed cookies: a priority that the operator gives to whoever holds the cookie. Owns their text and their signature.
//!
//! Text: `v1.PRIORITY.EXPIRY.MAC`, EXPIRY in seconds since 1970, MAC the first 16 bytes of HMAC-SHA256 over service, priority and
//! expiry, in hex. Its bearer is whoever has it: hand it out over TLS, `HttpOnly`, with a short expiry, and there is nothing to
//! revoke but the cluster's secret.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::{
    ids::Priority,
    member::rule::unquoted,
    secret::{Secret, keyed},
};

const VERSION: &str = "v1";

/// Bytes of a MAC.
const MAC_BYTES: usize = 16;

/// A signed cookie is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignedCookieError {
    /// It does not have the form.
    #[error("signed cookie is malformed; sign it with `dispatcher members sign-cookie`")]
    Malformed,
    /// Its MAC is of another secret, service, priority or expiry.
    #[error("signed cookie is forged, or of another secret or service; sign it anew for this one")]
    Forged,
    /// Its time is over.
    #[error("signed cookie has expired; sign a new one")]
    Expired,
}

/// Maker and judge of one service's signed cookies.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCookies {
    name: String,
    service: String,
    key: [u8; 32],
}

impl SignedCookies {
    /// Those of the service called `service`, in the cookie called `name`.
    #[must_use]
    pub fn new(name: &str, secret: &Secret, service: &str) -> Self {
        Self { name: name.to_owned(), service: service.to_owned(), key: secret.member_key() }
    }

    /// The cookie's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a cookie that is good until `expires_wall_s` (seconds since 1970).
    #[must_use]
    pub fn sign(&self, priority: Priority, expires_wall_s: u64) -> String {
        let mac = self.mac(priority, expires_wall_s).finalize().into_bytes();
        let mac: String = mac.iter().take(MAC_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("{VERSION}.{priority}.{expires_wall_s}.{mac}")
    }

    /// The priority that `value` gives at `now_wall_s`.
    ///
    /// # Errors
    /// When the cookie is not genuine or its time is over.
    pub fn verify(&self, value: &[u8], now_wall_s: u64) -> Result<Priority, SignedCookieError> {
        let (priority, expires_wall_s, mac) = parse(unquoted(value)).ok_or(SignedCookieError::Malformed)?;
        let expected = self.mac(priority, expires_wall_s);
        // In constant time, or the MAC could be guessed byte by byte.
        expected.verify_truncated_left(&mac).map_err(|_| SignedCookieError::Forged)?;
        if now_wall_s < expires_wall_s { Ok(priority) } else { Err(SignedCookieError::Expired) }
    }

    fn mac(&self, priority: Priority, expires_wall_s: u64) -> Hmac<Sha256> {
        // Names of services have no line end, so no two messages are the same bytes.
        keyed(&self.key).chain_update(format!("{}\n{priority}\n{expires_wall_s}", self.service))
    }
}

impl fmt::Debug for SignedCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedCookies").field("name", &self.name).field("service", &self.service).finish()
    }
}

/// Only the one text that [`SignedCookies::sign`] writes for each cookie.
fn parse(value: &[u8]) -> Option<(Priority, u64, [u8; MAC_BYTES])> {
    let mut parts = std::str::from_utf8(value).ok()?.split('.');
    let (version, level, expiry, mac) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || version != VERSION {
        return None;
    }
    let (priority, expires_wall_s) = (Priority::new(level.parse().ok()?)?, expiry.parse::<u64>().ok()?);
    let is_plain = priority.to_string() == level && expires_wall_s.to_string() == expiry;
    is_plain.then_some((priority, expires_wall_s, unhex(mac)?))
}

fn unhex(text: &str) -> Option<[u8; MAC_BYTES]> {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * MAC_BYTES || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; MAC_BYTES];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

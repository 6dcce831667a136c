//! The cluster's shared secret and the keys derived from it. Owns the derivation labels; reading the secret's
//! file, and what the keys sign, is elsewhere.
//!
//! Each key is HMAC-SHA256(secret, label), cut to its length (the expand step of RFC 5869 with one block), so no
//! key tells anything about another.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// A secret that all front-ends and servers of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The secret cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("secret has {0} bytes; use at least {MIN_SECRET_BYTES}, for example from `openssl rand -hex 32`")]
pub struct SecretTooShort(pub usize);

impl Secret {
    /// Takes the secret's text; whitespace around it, such as the newline that ends a file, does not count.
    ///
    /// # Errors
    /// When fewer than [`MIN_SECRET_BYTES`] bytes are left.
    pub fn new(text: &str) -> Result<Self, SecretTooShort> {
        let text = text.trim();
        if text.len() < MIN_SECRET_BYTES {
            return Err(SecretTooShort(text.len()));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// Key of the handshake cookies (front-ends only).
    #[must_use]
    pub fn cookie_key(&self) -> [u8; 16] {
        first_half(self.derive(b"dispatcher cookie v1"))
    }

    /// Key of the hand-off tickets.
    #[must_use]
    pub fn ticket_key(&self) -> [u8; 16] {
        first_half(self.derive(b"dispatcher ticket v1"))
    }

    /// Key of the servers' reports.
    #[must_use]
    pub fn report_key(&self) -> [u8; 32] {
        self.derive(b"dispatcher report v1")
    }

    /// Key of the members' signed cookies (front-ends only).
    #[must_use]
    pub fn member_key(&self) -> [u8; 32] {
        self.derive(b"dispatcher member v1")
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        keyed(&self.0).chain_update(label).finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// HMAC-SHA256 under `key`.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn first_half(key: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| key[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_label_and_secret_and_stay_the_same() {
        let (a, b) = (Secret::new("0123456789abcdef").unwrap(), Secret::new("0123456789abcdeg").unwrap());
        assert_ne!(a.cookie_key(), a.ticket_key());
        assert_ne!(a.cookie_key(), b.cookie_key());
        assert_ne!(a.report_key()[..16], a.ticket_key());
        assert_ne!(a.report_key(), a.member_key());
        assert_eq!(a.report_key(), Secret::new(" 0123456789abcdef\n").unwrap().report_key());
    }

    #[test]
    fn a_derived_key_is_the_hmac_that_other_tools_compute() {
        // printf 'dispatcher cookie v1' | openssl dgst -sha256 -hmac 0123456789abcdef
        let key = Secret::new("0123456789abcdef").unwrap().cookie_key();
        assert_eq!(
            key.iter().map(|b| format!("{b:02x}")).collect::<String>(),
            "0edc42a2f6ef576d2af77a81e46cc4c3"
        );
    }

    #[test]
    fn a_short_secret_is_refused_and_a_secret_is_never_printed() {
        assert_eq!(Secret::new("   0123456789abcde  "), Err(SecretTooShort(15)));
        assert_eq!(format!("{:?}", Secret::new("0123456789abcdef").unwrap()), "Secret(..)");
    }
}

//! Why a first request is refused, and with which status. Owns the list of reasons, one variant each, and
//! their statuses; does not own the answer's bytes or the counters.
//!
//! Everything here is the client's fault. A request that two parsers could read in two ways is refused rather
//! than repaired, because the bytes that go to a server are never changed.

use thiserror::Error;

/// The reason for refusing a request head. [`Refusal::status`] gives the HTTP status to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The first byte of the request line, or a later one of the method, is no token character (RFC 9110 5.6.2).
    #[error("method is not a token; send a plain HTTP/1.1 request")]
    Method,
    /// The method is longer than [`MAX_METHOD_BYTES`](super::MAX_METHOD_BYTES).
    #[error("method is too long; send a registered method")]
    MethodTooLong,
    /// The target is empty, or has whitespace, a control character, a non-ASCII byte or `#` in it.
    #[error("request target has a forbidden character; percent-encode it")]
    TargetCharacter,
    /// The target is none of the four forms of RFC 9112 3.2, or not the one that the method asks for.
    #[error("request target has the wrong form for the method; send a path")]
    TargetForm,
    /// What follows the target is not `HTTP/` digit `.` digit.
    #[error("protocol version is malformed; send HTTP/1.1")]
    VersionSyntax,
    /// A well-formed version other than 1.0 and 1.1, the preface of HTTP/2 among them.
    #[error("protocol version is not supported; send HTTP/1.1")]
    Version,
    /// CR without LF (RFC 9112 2.2).
    #[error("carriage return stands alone; end lines with CR LF")]
    BareCr,
    /// LF without CR (RFC 9112 2.2 lets a recipient accept it; two that differ can be played off).
    #[error("line feed stands alone; end lines with CR LF")]
    BareLf,
    /// A field line that begins with whitespace: obs-fold, or whitespace after the request line (RFC 9112 2.2, 5.2).
    #[error("field line begins with whitespace; do not fold lines")]
    Fold,
    /// Whitespace between field name and colon (RFC 9112 5.1).
    #[error("whitespace before the colon of a field; remove it")]
    SpaceBeforeColon,
    /// A field name that is empty or no token.
    #[error("field name is not a token; correct it")]
    FieldName,
    /// A control character, NUL among them, in a field value (RFC 9110 5.5).
    #[error("field value has a control character; remove it")]
    FieldValue,
    /// HTTP/1.1 without `Host` (RFC 9112 3.2).
    #[error("host field is missing; send one")]
    HostMissing,
    /// More than one `Host`.
    #[error("host field is repeated; send one")]
    HostRepeated,
    /// `Host` (or the target's authority) is empty or no `host [":" port]` of RFC 3986.
    #[error("host is invalid; send a name or address and a port")]
    HostInvalid,
    /// The authority of an absolute-form or authority-form target differs from `Host`.
    #[error("host field differs from the request target; send the same host in both")]
    HostMismatch,
    /// `Content-Length` is not a plain decimal number of at most 64 bits.
    #[error("content-length is not a number; send decimal digits")]
    LengthInvalid,
    /// More than one `Content-Length`, equal or not: merging them would change bytes (RFC 9110 8.6).
    #[error("content-length is repeated; send one")]
    LengthRepeated,
    /// `Content-Length` together with `Transfer-Encoding` (RFC 9112 6.1).
    #[error("content-length and transfer-encoding exclude each other; send one")]
    LengthWithCoding,
    /// `Transfer-Encoding` whose last coding is not exactly one `chunked`, or that is malformed (RFC 9112 6.3).
    #[error("transfer-encoding does not end in one chunked; send chunked")]
    Coding,
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 6.1).
    #[error("transfer-encoding needs HTTP/1.1; send content-length")]
    CodingInOldVersion,
    /// The head does not end within the limit.
    #[error("request head is longer than the limit; send fewer or shorter fields")]
    TooLong,
    /// More than [`MAX_FIELDS`](super::MAX_FIELDS) field lines.
    #[error("request has too many fields; send fewer")]
    TooManyFields,
    /// `httparse`, the second opinion, refuses what our scan let pass.
    #[error("request head is malformed; send a plain HTTP/1.1 request")]
    Malformed,
}

impl Refusal {
    /// The HTTP status to answer with: 400, 431 or 505.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong | Self::TooManyFields => 431,
            Self::Version => 505,
            _ => 400,
        }
    }
}

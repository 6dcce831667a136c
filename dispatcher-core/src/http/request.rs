//! A parsed request head, borrowed from the bytes it was read from. Owns access to its fields and cookies; how
//! it came to be is `mod.rs`.

use super::{BodyLength, framing::trim};

/// The protocol version; all others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A valid head of a first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// Case-sensitive method.
    pub method: &'a str,
    /// The request target as sent.
    pub target: &'a str,
    /// `Host`, or the target's authority when HTTP/1.0 sends that alone; as sent, port included.
    pub host: Option<&'a str>,
    /// Path of the target, as sent: begins with `/`; `*` for `OPTIONS *`, empty for `CONNECT`.
    pub path: &'a str,
    /// What follows the first `?` of the target.
    pub query: Option<&'a str>,
    /// Bytes up to and with the empty line, one leading empty line included.
    pub head_len: usize,
    /// The body that follows.
    pub body: BodyLength,
    /// Protocol version.
    pub version: Version,
    /// Whether the client asks for the connection to end after the response (RFC 9112 9.3).
    pub wants_close: bool,
    /// The field lines, each with its CR LF, without the final empty line.
    pub(super) field_lines: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// Name and value of every field, in order; values without surrounding whitespace, possibly not UTF-8.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.field_lines.split(|&b| b == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            let value = line[colon + 1..].strip_suffix(b"\r")?;
            Some((name, trim(value)))
        })
    }

    /// The host without its port; empty when there is none.
    #[must_use]
    pub fn hostname(&self) -> &'a str {
        self.host.map_or("", |text| super::host::split(text).0)
    }

    /// The value of the first field called `name`, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Name and value of every cookie (RFC 6265 4.2.1); pairs without `=` are left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields()
            .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"))
            .flat_map(|(_, value)| value.split(|&b| b == b';'))
            .filter_map(|pair| {
                let pair = trim(pair);
                let equals = pair.iter().position(|&b| b == b'=')?;
                Some((trim(&pair[..equals]), trim(&pair[equals + 1..])))
            })
    }
}

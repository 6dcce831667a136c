//! Strict parser of the first request's head, on top of `httparse`. Owns what is a valid head (RFC 9112) and
//! where it ends; does not own collecting segments, classes or answers.
//!
//! `scan` runs first and is stricter than `httparse`, which lets a bare LF and bytes above 0x7f in targets pass;
//! `httparse` then splits the lines and is a second opinion. Nothing is copied.
//!
//! Decisions where RFC 9112 leaves a choice: one empty line before the request is skipped, a second is refused;
//! a repeated `Content-Length` is refused even if equal; `Host` must not be empty; an authority in the target
//! must equal `Host`; codings before the final `chunked` are let through, as they do not change the framing.

mod course;
mod framing;
mod host;
mod refusal;
mod request;
mod scan;
mod target;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use framing::{Framing, trim};
use scan::{Extent, Stop};
use target::Target;

pub use course::{Course, Unclear};
pub use framing::BodyLength;
pub use refusal::Refusal;
pub use request::{RequestHead, Version};
pub(crate) use scan::is_token;
pub use scan::{MAX_FIELDS, MAX_METHOD_BYTES};

/// What the bytes of a flow amount to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<'a> {
    /// A whole, valid head.
    Complete(RequestHead<'a>),
    /// Valid so far; more bytes are needed.
    Partial,
    /// Refused; more bytes cannot change that.
    Refused(Refusal),
}

/// Parses the head at the start of `bytes`, which are all bytes of the flow so far. `limit` is the longest head
/// in bytes; what follows the head is not looked at.
#[must_use]
pub fn parse_head(bytes: &[u8], limit: usize) -> Head<'_> {
    let window = &bytes[..bytes.len().min(limit)];
    match scan::scan(window) {
        Ok(extent) => match complete(window, extent) {
            Ok(head) => Head::Complete(head),
            Err(refusal) => Head::Refused(refusal),
        },
        Err(Stop::Refused(refusal)) => Head::Refused(refusal),
        Err(Stop::Short) if bytes.len() >= limit => Head::Refused(Refusal::TooLong),
        Err(Stop::Short) => Head::Partial,
    }
}

fn complete(bytes: &[u8], extent: Extent) -> Result<RequestHead<'_>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(&bytes[extent.start..extent.end], &mut headers);
    if !matches!(parsed, Ok(httparse::Status::Complete(n)) if n == extent.end - extent.start) {
        return Err(Refusal::Malformed);
    }
    let (Some(method), Some(target_text)) = (request.method, request.path) else {
        return Err(Refusal::Malformed);
    };
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let target = Target::parse(method, target_text)?;
    let mut framing = Framing::default();
    let mut host = None;
    for header in request.headers.iter() {
        take_field(header, &mut framing, &mut host)?;
    }
    Ok(RequestHead {
        method,
        target: target_text,
        host: settle_host(host, target.authority, version)?,
        path: target.path,
        query: target.query,
        head_len: extent.end,
        body: framing.body(version)?,
        version,
        wants_close: framing.wants_close(version),
        field_lines: &bytes[extent.fields..extent.end - 2],
    })
}

/// Notes a field that matters for framing or host; the length of a name rules out nearly all others.
fn take_field<'a>(
    header: &httparse::Header<'a>,
    framing: &mut Framing,
    host: &mut Option<&'a str>,
) -> Result<(), Refusal> {
    let (name, value) = (header.name, header.value);
    match name.len() {
        4 if name.eq_ignore_ascii_case("host") => {
            let text = std::str::from_utf8(trim(value)).map_err(|_| Refusal::HostInvalid)?;
            if host.replace(text).is_some() {
                return Err(Refusal::HostRepeated);
            }
        }
        10 if name.eq_ignore_ascii_case("connection") => framing.connection(value),
        14 if name.eq_ignore_ascii_case("content-length") => framing.content_length(value)?,
        17 if name.eq_ignore_ascii_case("transfer-encoding") => framing.transfer_encoding(value)?,
        _ => {}
    }
    Ok(())
}

fn settle_host<'a>(
    field: Option<&'a str>,
    authority: Option<&'a str>,
    version: Version,
) -> Result<Option<&'a str>, Refusal> {
    let Some(field) = field else {
        return if version == Version::Http11 { Err(Refusal::HostMissing) } else { Ok(authority) };
    };
    host::check(field)?;
    match authority {
        Some(authority) if !host::same(field, authority) => Err(Refusal::HostMismatch),
        _ => Ok(Some(field)),
    }
}

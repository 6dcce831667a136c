//! Lines of access logs: which format, and the common and combined ones. JSON is `json`'s.
//! Owns why a line is bad.

use std::borrow::Cow;

use clap::ValueEnum;
use thiserror::Error;

use super::{
    field::{Fields, Stamp},
    json,
};

/// Longest part of a bad line that a message shows, in characters.
const SHOWN_CHARACTERS: usize = 100;

/// A format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Common log format; anything may stand before the time stamp and behind the bytes
    Common,
    /// Common with referrer and user agent
    Combined,
    /// A JSON object with nginx's names of variables
    NginxJson,
    /// JSON where a line begins with a brace, else common
    Auto,
}

/// Why a line is bad.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadLine {
    /// It does not have the form.
    #[error("not a line of the {format} format: {line}")]
    Form {
        /// Of which format.
        format: &'static str,
        /// Its beginning.
        line: String,
    },
    /// Its time stamp cannot be read.
    #[error("time stamp {stamp:?} is not {format:?}; give --time-format")]
    Stamp {
        /// The time stamp.
        stamp: String,
        /// How it should be written.
        format: String,
    },
    /// The dispatcher would refuse the request.
    #[error("no valid request: {0}")]
    Request(String),
}

impl BadLine {
    pub(super) fn form(format: &'static str, line: &str) -> Self {
        Self::Form { format, line: beginning(line) }
    }

    pub(super) fn request(request: &str) -> Self {
        Self::Request(beginning(request))
    }
}

fn beginning(text: &str) -> String {
    text.trim().chars().take(SHOWN_CHARACTERS).collect()
}

/// The fields of a line.
pub(super) fn fields<'a>(format: Format, line: &'a str) -> Result<Fields<'a>, BadLine> {
    let is_json = match format {
        Format::NginxJson => true,
        Format::Auto => line.trim_start().starts_with('{'),
        Format::Common | Format::Combined => false,
    };
    let (name, fields) = if is_json {
        ("nginx-json", json::fields(line))
    } else if format == Format::Combined {
        ("combined", text_fields(line, true))
    } else {
        ("common", text_fields(line, false))
    };
    fields.ok_or_else(|| BadLine::form(name, line))
}

/// `anything [stamp] "request" status bytes anything`, the last with two more quoted fields in the combined format.
fn text_fields(line: &str, is_combined: bool) -> Option<Fields<'_>> {
    let (_, rest) = line.split_once('[')?;
    let (stamp, rest) = rest.split_once(']')?;
    let rest = rest.trim_start().strip_prefix('"')?;
    let end = end_of_request(rest)?;
    let (request, rest) = (&rest[..end], &rest[end + 1..]);
    let mut words = rest.split_ascii_whitespace();
    let _status = words.next()?;
    let bytes = match words.next()? {
        "-" => 0,
        number => number.parse().ok()?,
    };
    if is_combined && rest.matches('"').count() < 4 {
        return None;
    }
    let stamp = Stamp::Text(Cow::Borrowed(stamp));
    Some(Fields { stamp, request: Cow::Borrowed(request), host: None, bytes })
}

/// The first quote that a status follows: servers did not always escape quotes in requests.
fn end_of_request(rest: &str) -> Option<usize> {
    let is_end = |&(at, _): &(usize, &str)| {
        let mut after = rest[at + 1..].bytes();
        after.next() == Some(b' ')
            && after.by_ref().take(3).filter(u8::is_ascii_digit).count() == 3
            && matches!(after.next(), None | Some(b' ' | b'\n' | b'\r'))
    };
    rest.match_indices('"').find(is_end).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, line: &str) -> Option<(String, String, u64)> {
        let fields = fields(format, line).ok()?;
        let Stamp::Text(stamp) = fields.stamp else { panic!("{:?}", fields.stamp) };
        Some((stamp.into_owned(), fields.request.into_owned(), fields.bytes))
    }

    fn found(stamp: &str, request: &str, bytes: u64) -> Option<(String, String, u64)> {
        Some((stamp.to_owned(), request.to_owned(), bytes))
    }

    #[test]
    fn common_and_combined_lines_are_read() {
        let common = r#"192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#;
        let expected = found("10/Oct/2000:13:55:36 -0700", "GET /a.gif HTTP/1.0", 2326);
        assert_eq!(read(Format::Common, common), expected);
        assert_eq!(read(Format::Auto, &format!("{common}\r\n")), expected);
        assert_eq!(read(Format::Combined, common), None);
        let combined = format!(r#"{common} "http://a/" "Mozilla/4.08 [en]""#);
        assert_eq!(read(Format::Combined, &combined), expected);
        assert_eq!(read(Format::Auto, &combined), expected);
    }

    #[test]
    fn odd_lines_of_real_logs_are_read() {
        let odd = r#"host [30:00:00:00] "GET /say"hi" HTTP/1.0" 304 -"#;
        assert_eq!(read(Format::Common, odd), found("30:00:00:00", r#"GET /say"hi" HTTP/1.0"#, 0));
        let old = r#"host - - [30:00:00:00] "GET /" 200 7"#;
        assert_eq!(read(Format::Common, old), found("30:00:00:00", "GET /", 7));
    }

    #[test]
    fn what_is_no_line_is_said_to_be_none() {
        for bad in
            ["x", "[1", "[1] GET", r#"[1] "GET / 200 1"#, r#"[1] "GET /" 20 1"#, r#"[1] "GET /" 200 x"#]
        {
            let error = fields(Format::Common, bad).unwrap_err();
            assert_eq!(error, BadLine::Form { format: "common", line: bad.to_owned() });
        }
    }
}

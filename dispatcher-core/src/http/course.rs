//! Where the next request of a connection may start, as far as bytes that begin with a request say it (RFC 9112 6.3, 9.3). Owns how
//! many requests begin in them and why the place of the next may not be known; who dispatches them is the caller's business.
//!
//! Versions make no difference: a client that does not keep its connection sends nothing more, and nothing is wrong then.

use dispatcher_common::filter::opaque;

use super::{BodyLength, Head, RequestHead, parse_head};

/// Distances in a connection that sequence numbers can tell: below half of their range (RFC 9293 3.4).
const FARTHEST: u64 = 1 << 31;

/// Why it is not known where the next request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unclear {
    /// A body in chunks.
    Chunked,
    /// `Upgrade` or `CONNECT`: what follows may not be HTTP.
    Upgrade,
    /// `Expect`: whether the body comes depends on the response.
    Expect,
    /// The head of a request behind the first one is not whole.
    Split,
    /// What stands where a request should is none.
    Malformed,
    /// A body that ends 2 GiB or more after the first request's beginning.
    LongBody,
}

impl Unclear {
    /// As one of [`opaque`].
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Chunked => opaque::CHUNKED,
            Self::Upgrade => opaque::UPGRADE,
            Self::Expect => opaque::EXPECT,
            Self::Split => opaque::SPLIT,
            Self::Malformed => opaque::MALFORMED,
            Self::LongBody => opaque::LONG_BODY,
        }
    }
}

/// How a connection goes on from a stretch of bytes that begins with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Requests that begin in the bytes; one whose head is not whole counts.
    pub requests: u32,
    /// Where the next request may start, in bytes from the beginning, possibly beyond the end.
    pub next: Result<u32, Unclear>,
}

impl Course {
    /// Of bytes that begin with `first`; `limit` is the longest head in bytes. An empty line before a request counts to it.
    #[must_use]
    pub fn of(first: &RequestHead<'_>, bytes: &[u8], limit: usize) -> Self {
        let mut requests = 1;
        let mut next = end(first, 0);
        while let Ok(at) = next
            && let Some(rest @ [_, ..]) = bytes.get(at as usize..)
        {
            let parsed = parse_head(rest, limit);
            requests += u32::from(!matches!(parsed, Head::Refused(_)));
            next = match parsed {
                Head::Complete(head) => end(&head, at),
                Head::Partial => Err(Unclear::Split),
                Head::Refused(_) => Err(Unclear::Malformed),
            };
        }
        Self { requests, next }
    }

    /// Of bytes that should begin with a request, but may not.
    #[must_use]
    pub fn read(bytes: &[u8], limit: usize) -> Self {
        match parse_head(bytes, limit) {
            Head::Complete(first) => Self::of(&first, bytes, limit),
            Head::Partial => Self { requests: 1, next: Err(Unclear::Split) },
            Head::Refused(_) => Self { requests: 0, next: Err(Unclear::Malformed) },
        }
    }

    /// Whether the bytes are one whole request and nothing else, `len` of them.
    #[must_use]
    pub fn is_one_of(&self, len: usize) -> bool {
        self.requests == 1 && self.next.is_ok_and(|next| next as usize == len)
    }
}

/// The end of a request that starts at an offset.
fn end(head: &RequestHead<'_>, at: u32) -> Result<u32, Unclear> {
    if head.method == "CONNECT" || head.field("Upgrade").is_some() {
        return Err(Unclear::Upgrade);
    }
    let body = match head.body {
        BodyLength::Chunked => return Err(Unclear::Chunked),
        BodyLength::None => 0,
        BodyLength::Length(length) => length,
    };
    if head.field("Expect").is_some() {
        return Err(Unclear::Expect);
    }
    let end = body.saturating_add(u64::from(at)).saturating_add(head.head_len as u64);
    u32::try_from(end).ok().filter(|end| u64::from(*end) < FARTHEST).ok_or(Unclear::LongBody)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 16_384;
    const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

    fn course(text: &[u8]) -> Course {
        match parse_head(text, LIMIT) {
            Head::Complete(first) => Course::of(&first, text, LIMIT),
            other => panic!("{other:?}"),
        }
    }

    fn post(fields: &str) -> String {
        format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
    }

    #[test]
    fn the_next_request_starts_after_head_and_body() {
        let long = post("Content-Length: 1000000");
        for (text, after) in [
            (GET.to_owned(), 0),
            (post("Content-Length: 0"), 0),
            (post("Content-Length: 5") + "hello", 0),
            (post("Content-Length: 5") + "he", 3),
            (long, 1_000_000),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(), 0),
            ("GET / HTTP/1.0\r\n\r\n".to_owned(), 0),
            (format!("\r\n{GET}"), 0),
        ] {
            let next = Ok((text.len() as i64 + after) as u32);
            assert_eq!(course(text.as_bytes()), Course { requests: 1, next }, "{text}");
        }
    }

    #[test]
    fn requests_behind_the_first_are_counted() {
        let body = post("Content-Length: 5") + "GET /";
        for (text, requests) in [
            (format!("{GET}{GET}{GET}"), 3),
            (format!("{GET}\r\n{GET}"), 2),
            (format!("{body}{GET}{body}"), 3),
            (format!("{GET}{body}"), 2),
        ] {
            let course = course(text.as_bytes());
            assert_eq!(course, Course { requests, next: Ok(text.len() as u32) }, "{text}");
            assert!(!course.is_one_of(text.len()));
        }
        assert!(course(GET.as_bytes()).is_one_of(GET.len()));
        assert!(!course(post("Content-Length: 5").as_bytes()).is_one_of(GET.len()));
    }

    #[test]
    fn what_makes_the_next_request_s_place_unclear_is_told() {
        let chunked = post("Transfer-Encoding: chunked");
        let long = |length: u64| post(&format!("Content-Length: {length}"));
        let head = long(1_000_000_000).len() as u64;
        for (text, requests, next) in [
            (chunked.clone() + "0\r\n\r\n", 1, Err(Unclear::Chunked)),
            (format!("{GET}{chunked}"), 2, Err(Unclear::Chunked)),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(), 1, Err(Unclear::Upgrade)),
            (post("Connection: upgrade\r\nupgrade: websocket"), 1, Err(Unclear::Upgrade)),
            (post("Expect: 100-continue\r\nContent-Length: 5"), 1, Err(Unclear::Expect)),
            (format!("{GET}{}", &GET[..10]), 2, Err(Unclear::Split)),
            (format!("{GET}\r"), 2, Err(Unclear::Split)),
            (format!("{GET}\0"), 1, Err(Unclear::Malformed)),
            (format!("{GET}\r\n\r\n"), 1, Err(Unclear::Malformed)),
            (long(FARTHEST - 1 - head), 1, Ok(FARTHEST as u32 - 1)),
            (long(FARTHEST - head), 1, Err(Unclear::LongBody)),
            (long(u64::MAX), 1, Err(Unclear::LongBody)),
        ] {
            assert_eq!(course(text.as_bytes()), Course { requests, next }, "{text}");
        }
    }

    #[test]
    fn bytes_that_begin_with_no_whole_request_have_a_course_too() {
        assert_eq!(Course::read(GET.as_bytes(), LIMIT), course(GET.as_bytes()));
        let split = Course { requests: 1, next: Err(Unclear::Split) };
        assert_eq!(Course::read(&GET.as_bytes()[..9], LIMIT), split);
        let malformed = Course { requests: 0, next: Err(Unclear::Malformed) };
        assert_eq!(Course::read(b"\x81\x05hello", LIMIT), malformed);
    }

    #[test]
    fn each_reason_has_its_code_and_the_code_a_name() {
        for (reason, name) in [
            (Unclear::Chunked, "chunked"),
            (Unclear::Upgrade, "upgrade"),
            (Unclear::Expect, "expect"),
            (Unclear::Split, "split_head"),
            (Unclear::Malformed, "malformed"),
            (Unclear::LongBody, "long_body"),
        ] {
            assert_eq!(opaque::name(reason.code()), Some(name));
        }
    }

    /// A request with a body of so many bytes, none if zero.
    fn request(body: &[u8], empty_line: bool) -> Vec<u8> {
        let before = if empty_line { "\r\n" } else { "" };
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        [format!("{before}PUT /a HTTP/1.1\r\nHost: a\r\n{length}\r\n").as_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn any_cut_is_followed_to_the_same_end(
            requests in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()), 1..6),
            cut: prop::sample::Index,
        ) {
            let requests: Vec<_> = requests.iter().map(|(body, empty_line)| request(body, *empty_line)).collect();
            let text = requests.concat();
            let cut = cut.index(text.len() + 1);
            let mut ends = requests.iter().scan(0, |end, request| { *end += request.len(); Some(*end) });
            // The request in which the cut is, or which ends there.
            let end = ends.find(|end| *end >= cut).unwrap();
            let Head::Complete(first) = parse_head(&text[..cut], LIMIT) else { return Ok(()) };
            match Course::of(&first, &text[..cut], LIMIT).next {
                Ok(next) => prop_assert_eq!(next as usize, end),
                Err(reason) => prop_assert_eq!(reason, Unclear::Split),
            }
        }

        #[test]
        fn whatever_follows_the_first_request_does_no_harm(bytes: Vec<u8>) {
            let text = [GET.as_bytes(), &bytes].concat();
            let course = course(&text);
            prop_assert!(course.requests >= 1);
            if let Ok(next) = course.next {
                prop_assert!(next as usize >= text.len());
            }
        }
    }
}

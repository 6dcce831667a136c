//! Tests of the head parser: a table of refusals, each with the RFC's rule, and properties over cuts and bytes.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 16_384;
const CURL: &[u8] =
    b"GET /a/b?c=d HTTP/1.1\r\nHost: 198.18.0.100\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\n\r\n";

fn head(bytes: &[u8]) -> RequestHead<'_> {
    match parse_head(bytes, LIMIT) {
        Head::Complete(head) => head,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    match parse_head(bytes, LIMIT) {
        Head::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

#[test]
fn a_curl_head_gives_all_its_parts() {
    let head = head(CURL);
    assert_eq!((head.method, head.target, head.host), ("GET", "/a/b?c=d", Some("198.18.0.100")));
    assert_eq!((head.path, head.query, head.head_len), ("/a/b", Some("c=d"), CURL.len()));
    assert_eq!((head.body, head.version, head.wants_close), (BodyLength::None, Version::Http11, false));
    let names: Vec<_> = head.fields().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "User-Agent", "Accept"]);
    assert_eq!(head.field("user-agent"), Some(&b"curl/8.5"[..]));
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\x00\n\rGE";
    let head = head(bytes);
    assert_eq!((head.body, head.head_len), (BodyLength::Length(5), bytes.len() - 5));
}

#[test]
fn one_empty_line_before_the_request_is_counted_in_the_head() {
    let bytes = [b"\r\n", CURL].concat();
    assert_eq!(head(&bytes).head_len, bytes.len());
    assert_eq!(refusal(&[b"\r\n\r\n", CURL].concat()), Some(Refusal::Method));
    assert_eq!(refusal(&[b"\n", CURL].concat()), Some(Refusal::BareLf));
}

#[test]
fn cookies_of_all_cookie_fields_are_listed() {
    let head =
        head(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b = x=y ;c;d=\r\nX: z=1\r\ncookie: e=5\r\n\r\n");
    let cookies: Vec<_> = head.cookies().collect();
    let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b"x=y"), (b"d", b""), (b"e", b"5")];
    assert_eq!(cookies, expected);
}

#[test]
fn close_follows_version_and_connection_options() {
    for (version, option, close) in [
        ("1.1", "X: y", false),
        ("1.1", "Connection: Upgrade, CLOSE", true),
        ("1.0", "X: y", true),
        ("1.0", "Connection: Keep-Alive", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{option}\r\n\r\n");
        assert_eq!(head(text.as_bytes()).wants_close, close, "{text}");
    }
}

#[test]
fn chunked_is_recognised_in_any_case_and_after_other_codings() {
    for value in ["chunked", " ChunKed\t", "gzip, chunked", "gzip\r\nTransfer-Encoding: chunked"] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
        assert_eq!(head(text.as_bytes()).body, BodyLength::Chunked, "{text}");
    }
}

#[test]
fn http_1_0_may_come_without_a_host() {
    assert_eq!(head(b"GET / HTTP/1.0\r\n\r\n").host, None);
    assert_eq!(head(b"GET http://a:80/ HTTP/1.0\r\n\r\n").host, Some("a:80"));
}

#[test]
fn start_lines_that_break_the_grammar_are_refused() {
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x02\x00"[..], Refusal::Method),
        (b"G\0T / HTTP/1.1\r\n", Refusal::Method),
        (b" GET", Refusal::Method),
        (b"GET\t/", Refusal::Method),
        (b"GET\n", Refusal::BareLf),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Refusal::MethodTooLong),
        (b"GET  /", Refusal::TargetCharacter),
        (b"GET /\t", Refusal::TargetCharacter),
        (b"GET /\x7f", Refusal::TargetCharacter),
        (b"GET /\xc3\xa4", Refusal::TargetCharacter),
        (b"GET /#a", Refusal::TargetCharacter),
        (b"GET /\0", Refusal::TargetCharacter),
        (b"GET /\r", Refusal::VersionSyntax),
        (b"GET / \r", Refusal::VersionSyntax),
        (b"GET /\n", Refusal::BareLf),
        (b"GET /a b HTTP/1.1\r\n", Refusal::VersionSyntax),
        (b"GET / http/1.1\r\n", Refusal::VersionSyntax),
        (b"GET / HTTP/1.10", Refusal::VersionSyntax),
        (b"GET / HTTP/1.1 ", Refusal::VersionSyntax),
        (b"GET / HTTP/1.1\n", Refusal::BareLf),
        (b"GET / HTTP/1.1\rX", Refusal::BareCr),
        (b"GET / HTTP/1.2\r", Refusal::Version),
        (b"GET / HTTP/0.9\r", Refusal::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
    ] {
        assert_eq!(refusal(bytes), Some(expected), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn fields_that_break_the_grammar_are_refused() {
    for (fields, expected) in [
        (&b" Host: a"[..], Refusal::Fold),
        (b"Host: a\r\n b", Refusal::Fold),
        (b"Host: a\r\n\tb", Refusal::Fold),
        (b"Host : a", Refusal::SpaceBeforeColon),
        (b"Host\t: a", Refusal::SpaceBeforeColon),
        (b": a", Refusal::FieldName),
        (b"Ho(st: a", Refusal::FieldName),
        (b"Ho\0st: a", Refusal::FieldName),
        (b"Host\r\n", Refusal::FieldName),
        (b"Host: a\0", Refusal::FieldValue),
        (b"Host: a\x7f", Refusal::FieldValue),
        (b"Host: a\nX: b\r\n", Refusal::BareLf),
        (b"Host\nX", Refusal::BareLf),
        (b"Host: a\rX", Refusal::BareCr),
        (b"Host: a\r\n\rX", Refusal::BareCr),
        (b"Host: a\r\n\n", Refusal::BareLf),
    ] {
        let bytes = [b"GET / HTTP/1.1\r\n", fields].concat();
        assert_eq!(refusal(&bytes), Some(expected), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    for (start, fields, expected) in [
        ("GET / HTTP/1.1", "", Refusal::HostMissing),
        ("GET / HTTP/1.1", "Host: a\r\nhost: a\r\n", Refusal::HostRepeated),
        ("GET / HTTP/1.0", "Host: a\r\nhost: b\r\n", Refusal::HostRepeated),
        ("GET / HTTP/1.1", "Host:\r\n", Refusal::HostInvalid),
        ("GET / HTTP/1.1", "Host: a, b\r\n", Refusal::HostInvalid),
        ("GET / HTTP/1.0", "Host: a/b\r\n", Refusal::HostInvalid),
        ("GET http://a/ HTTP/1.1", "Host: b\r\n", Refusal::HostMismatch),
        ("GET http://a/ HTTP/1.1", "", Refusal::HostMissing),
        ("CONNECT a:443 HTTP/1.1", "Host: b:443\r\n", Refusal::HostMismatch),
        ("GET * HTTP/1.1", "Host: a\r\n", Refusal::TargetForm),
        (
            "POST / HTTP/1.1",
            "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            Refusal::LengthWithCoding,
        ),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n", Refusal::LengthRepeated),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n", Refusal::LengthRepeated),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: 1, 1\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: +1\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length:\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: 18446744073709551616\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: gzip\r\n", Refusal::Coding),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked, gzip\r\n", Refusal::Coding),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n", Refusal::Coding),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked;q=1\r\n", Refusal::Coding),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: \x0bchunked\r\n", Refusal::FieldValue),
        ("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding:\r\n", Refusal::Coding),
        ("POST / HTTP/1.0", "Host: a\r\nTransfer-Encoding: chunked\r\n", Refusal::CodingInOldVersion),
    ] {
        let text = format!("{start}\r\n{fields}\r\n");
        assert_eq!(refusal(text.as_bytes()), Some(expected), "{text}");
    }
}

#[test]
fn sizes_are_bounded_exactly() {
    let with_fields = |n: usize| {
        let more = "X: y\r\n".repeat(n - 1);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n").into_bytes()
    };
    assert_eq!(refusal(&with_fields(MAX_FIELDS)), None);
    assert_eq!(refusal(&with_fields(MAX_FIELDS + 1)), Some(Refusal::TooManyFields));
    assert!(matches!(parse_head(CURL, CURL.len()), Head::Complete(_)));
    assert_eq!(parse_head(CURL, CURL.len() - 1), Head::Refused(Refusal::TooLong));
    assert_eq!(parse_head(&CURL[..40], 40), Head::Refused(Refusal::TooLong));
    assert_eq!(parse_head(&CURL[..39], 40), Head::Partial);
    assert_eq!(parse_head(b"", LIMIT), Head::Partial);
}

#[test]
fn each_refusal_has_its_status() {
    assert_eq!((Refusal::TooLong.status(), Refusal::TooManyFields.status()), (431, 431));
    assert_eq!(
        (Refusal::Version.status(), Refusal::VersionSyntax.status(), Refusal::Method.status()),
        (505, 400, 400)
    );
}

/// Pieces from which heads are built that are valid, nearly valid, or broken in one place.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET ",
        "/",
        "/a?b",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        ":",
        "X: y\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\0",
        "\u{e4}",
        "http://a/",
        "OPTIONS * ",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn valid_heads() -> impl Strategy<Value = Vec<u8>> {
    let field = "[A-Za-z-]{1,12}: ?[ -~]{0,30}";
    ("[A-Z]{1,8}", "/[a-z0-9/%]{0,40}", prop::collection::vec(field, 0..8)).prop_filter_map(
        "field with a meaning of its own",
        |(method, path, fields)| {
            let meant = |f: &String| {
                let name = f.split(':').next().unwrap_or_default().to_ascii_lowercase();
                ["host", "content-length", "transfer-encoding"].contains(&name.as_str())
            };
            if method == "CONNECT" || fields.iter().any(meant) {
                return None;
            }
            let fields: String = fields.iter().map(|f| format!("{f}\r\n")).collect();
            Some(format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").into_bytes())
        },
    )
}

/// A parse must be settled by the first prefix that is not `Partial`, and never changed by later bytes.
fn check_cuts(bytes: &[u8], limit: usize) -> Result<(), TestCaseError> {
    let whole = parse_head(bytes, limit);
    for cut in 0..bytes.len() {
        let part = parse_head(&bytes[..cut], limit);
        prop_assert!(
            part == Head::Partial || part == whole,
            "cut at {}: {:?} against {:?}",
            cut,
            part,
            whole
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_cuts_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 0_usize..220,
    ) {
        check_cuts(&bytes, limit)?;
    }

    #[test]
    fn broken_heads_parse_alike_however_they_are_cut(bytes in pieces(), limit in 0_usize..120) {
        check_cuts(&bytes, limit)?;
        check_cuts(&bytes, LIMIT)?;
    }

    #[test]
    fn every_prefix_of_a_valid_head_is_partial(bytes in valid_heads(), tail in prop::collection::vec(any::<u8>(), 0..20)) {
        for cut in 0..bytes.len() {
            prop_assert_eq!(parse_head(&bytes[..cut], LIMIT), Head::Partial);
        }
        let longer = [&bytes[..], &tail[..]].concat();
        prop_assert_eq!(head(&longer), head(&bytes));
        prop_assert_eq!(head(&bytes).head_len, bytes.len());
    }
}

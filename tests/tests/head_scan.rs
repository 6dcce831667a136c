//! The class cache's scan of heads against the slow path's parser, over heads of all kinds: what the scan accepts, the parser
//! judges by the request's line and the host alone, and both see it end at the same place. So one answer holds for all heads with
//! one key, and it is known where the next one starts.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashMap;

use dispatcher_common::{head_scan, siphash::SipKey};
use dispatcher_core::{
    class::{ClassKey, ClassMap},
    http::{self, BodyLength, Head, Refusal, RequestHead, parse_head},
    ids::ClassId,
};
use tests::heads::Heads;

const KEY: SipKey = SipKey { k0: 1, k1: 2 };
const LIMIT: usize = 16_384;
const HEADS: usize = 400_000;
const SEED: u64 = 5;

/// What the slow path makes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Class { class: ClassId, target: u64 },
    Refused(Refusal),
    Partial,
}

fn answer(classes: &ClassMap, bytes: &[u8]) -> Answer {
    match parse_head(bytes, LIMIT) {
        Head::Complete(head) => {
            assert_eq!(head.body, BodyLength::None, "a body would have to be told apart");
            Answer::Class { class: classes.classify(&head), target: classes.target(&head) }
        }
        Head::Refused(refusal) => Answer::Refused(refusal),
        Head::Partial => Answer::Partial,
    }
}

fn key(bytes: &[u8]) -> Option<u64> {
    head_scan::key_of(&KEY, 3, bytes, LIMIT)
}

/// What leaves open what follows the head.
fn is_open(head: &RequestHead<'_>) -> bool {
    let is = |name: &str, other| name.eq_ignore_ascii_case(other);
    head.fields().any(|(name, _)| is(name, "upgrade") || is(name, "expect"))
}

/// Proves that the head ends where the scan found its end, and that the next request starts there.
fn assert_ends(bytes: &[u8], len: usize) {
    let text = String::from_utf8_lossy(bytes);
    assert!(bytes[..len].ends_with(b"\r\n\r\n"), "{text:?}");
    assert!(!bytes[..len - 1].windows(4).any(|window| window == b"\r\n\r\n"), "{text:?}");
    if let Head::Complete(head) = parse_head(bytes, LIMIT) {
        assert_eq!(head.head_len, len, "{text:?}");
        assert!(!is_open(&head), "{text:?}");
    }
}

/// The head with nothing but its first line and its host.
fn bare(head: &[u8]) -> Vec<u8> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let end = text.find("\r\n\r\n").unwrap();
    let mut lines = text[..end].split("\r\n");
    let first = lines.next().unwrap();
    let hosts: Vec<&str> = lines.filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
    assert_eq!(hosts.len(), 1, "{text:?}");
    format!("{first}\r\n{}\r\n\r\n", hosts[0]).chars().map(|char| char as u8).collect()
}

#[test]
fn what_the_scan_accepts_is_judged_by_its_line_and_host_alone() {
    println!("seed {SEED}");
    let classes = ClassMap::new(ClassId(0), vec![], 1000, ClassKey::PathAndQuery);
    let mut heads = Heads::new(SEED);
    let mut answers: HashMap<u64, Answer> = HashMap::new();
    let (mut accepted, mut known) = (0, 0);
    for _ in 0..HEADS {
        let head = heads.next_head();
        let Some((key, len)) = head_scan::scan(&KEY, 3, &head, LIMIT) else { continue };
        accepted += 1;
        assert_ends(&head, len);
        let text = String::from_utf8_lossy(&head);
        let found = answer(&classes, &head);
        assert_ne!(found, Answer::Partial, "{text:?}");
        assert_eq!(answer(&classes, &bare(&head)), found, "{text:?}");
        let before = *answers.entry(key).or_insert(found);
        assert_eq!(before, found, "{text:?}");
        known += usize::from(matches!(found, Answer::Class { .. }));
    }
    println!("{accepted} of {HEADS} heads accepted, {known} of them valid, with {} keys", answers.len());
    assert!(known > HEADS / 10 && answers.len() > 100);
}

#[test]
fn usual_heads_are_accepted() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/b?c=d HTTP/1.1\r\nHost: 198.18.0.100\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\n\r\n",
        "GET / HTTP/1.1\r\nAccept-Encoding:gzip\r\nX-Empty:\r\nhost:a\r\n\r\nGET /2",
        "GET / HTTP/1.1\r\nUpgrade-Insecure-Requests: 1\r\nExpected: a\r\nUpgrad: b\r\nHost: a\r\n\r\n",
        "HEAD /caf%C3%A9 HTTP/1.0\r\nConnection: keep-alive\r\nX: a\tb\u{e4}\r\nHOST: a:8080\r\n\r\n",
    ] {
        assert!(key(head.as_bytes()).is_some(), "{head:?}");
    }
}

#[test]
fn unusual_heads_are_not() {
    let many = "a:\r\n".repeat(http::MAX_FIELDS);
    let long = "a".repeat(2100);
    for head in [
        "",
        "GET / HTTP/1.1\r\nHost: a\r\n\r",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nupGRADE:h2c\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nexpecT: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: \u{1}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: \u{7f}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA/B: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\u{e4}: c\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        assert_eq!(key(head.as_bytes()), None, "{head:?}");
    }
}

#[test]
fn as_many_fields_are_accepted_as_the_parser_takes() {
    assert_eq!(head_scan::MAX_FIELDS as usize, http::MAX_FIELDS);
    let many = "a:\r\n".repeat(http::MAX_FIELDS - 1);
    assert!(key(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).is_some());
}

#[test]
fn a_head_longer_than_the_limit_is_not_accepted() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let with_limit = |limit| head_scan::key_of(&KEY, 3, head, limit);
    assert!(with_limit(head.len()).is_some());
    assert_eq!(with_limit(head.len() - 1), None);
}

#[test]
fn keys_tell_line_host_service_and_secret_apart() {
    let head = |line: &str, host: &str| format!("GET {line} HTTP/1.1\r\nHost:{host}\r\n\r\n").into_bytes();
    let keys = [
        head_scan::key_of(&KEY, 3, &head("/", "a"), LIMIT),
        head_scan::key_of(&KEY, 4, &head("/", "a"), LIMIT),
        head_scan::key_of(&SipKey { k0: 1, k1: 3 }, 3, &head("/", "a"), LIMIT),
        key(&head("/", "b")),
        key(&head("/", " a")),
        key(&head("/a", "a")),
        // Eight bytes on, as if the line ended there.
        key(&head("/aaaaaaaa", "a")),
        key(&head("/", "aaaaaaaaa")),
    ];
    let distinct: std::collections::HashSet<_> = keys.iter().map(|key| key.unwrap()).collect();
    assert_eq!(distinct.len(), keys.len());
}

//! Walks through made-up connections, cut into segments anywhere, against an oracle that has the whole of them and another parser.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::words::{BLOCK, Slice};

/// Where every connection begins; their numbers wrap.
const START: u32 = u32::MAX - 700;

/// A segment's data.
struct Payload<'a> {
    bytes: &'a [u8],
    loaded: &'a [u8],
}

impl Words for Payload<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        Slice(self.loaded).word(at)
    }

    fn block(&self, at: u64) -> Option<[u64; BLOCK]> {
        Slice(self.loaded).block(at)
    }
}

impl Data for Payload<'_> {
    fn load(&mut self, offset: u32, len: u32) -> bool {
        assert!((1..=MAX_HEAD as u32).contains(&len));
        let (start, len) = (offset as usize, len as usize);
        self.loaded = &self.bytes[start..start + len];
        true
    }
}

/// A connection's walk from segment to segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// From [`START`].
    next_at: u32,
    framing: u8,
    answered: usize,
}

impl State {
    const NEW: Self = Self { next_at: 0, framing: framing::HEAD, answered: 0 };

    /// Goes on with a part of what the server sends; `heads` says which responses are to `HEAD`.
    fn segment(self, stream: &[u8], part: Range<usize>, heads: &[bool]) -> Self {
        if self.framing == framing::LOST {
            return self;
        }
        let bytes = &stream[part.clone()];
        let mut data = Payload { bytes, loaded: &[] };
        let mut walk = ResponseWalk::default();
        let seq = |at: usize| START.wrapping_add(at as u32);
        walk.start(START.wrapping_add(self.next_at), self.framing, seq(part.start), seq(part.end));
        let mut answered = self.answered;
        for _ in 0..MAX_STEPS {
            match walk.step(&mut data, heads.get(answered).copied().unwrap_or_default()) {
                Next::More => {}
                Next::Answered => answered += 1,
                Next::Done | Next::Lost => {
                    let next_at = walk.next_at.wrapping_sub(START);
                    return Self { next_at, framing: walk.framing as u8, answered };
                }
            }
        }
        panic!("the walk does not end");
    }
}

fn all(stream: &[u8], heads: &[bool]) -> State {
    State::NEW.segment(stream, 0..stream.len(), heads)
}

fn at_head(next_at: usize, answered: usize) -> State {
    State { next_at: next_at as u32, framing: framing::HEAD, answered }
}

fn assert_lost(stream: &str) {
    assert_eq!(all(stream.as_bytes(), &[]).framing, framing::LOST, "{stream:?}");
}

#[test]
fn a_response_of_nginx_ends_where_its_length_says() {
    let stream = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 15:52:24 GMT\r\n\
        Content-Type: text/plain\r\nContent-Length: 5\r\nLast-Modified: Thu, 26 Nov 2026 05:00:00 GMT\r\n\
        Connection: keep-alive\r\nETag: \"6566-5\"\r\nX-Odd_name: 1\r\nAccept-Ranges: bytes\r\n\r\nhello";
    assert_eq!(all(stream, &[]), at_head(stream.len(), 1));
    assert_eq!(all(stream, &[true]).next_at as usize, stream.len() - 5);
    let head_only = State::NEW.segment(stream, 0..stream.len() - 5, &[]);
    assert_eq!(head_only, at_head(stream.len(), 1));
    assert_eq!(head_only.segment(stream, stream.len() - 5..stream.len(), &[]), head_only);
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 204\r\n\r\n",
    ] {
        assert_eq!(all(head.as_bytes(), &[]), at_head(head.len(), 1), "{head:?}");
    }
}

#[test]
fn interim_responses_are_not_the_answer() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert_eq!(all(interim.as_bytes(), &[]), at_head(interim.len(), 0));
    let stream =
        format!("HTTP/1.1 100 Continue\r\n\r\n{interim}HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nabc");
    assert_eq!(all(stream.as_bytes(), &[]), at_head(stream.len(), 1));
}

#[test]
fn chunks_are_followed_to_the_last() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = format!("{head}5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n");
    let bytes = stream.as_bytes();
    assert_eq!(all(bytes, &[]), at_head(stream.len(), 1));
    let open = State::NEW.segment(bytes, 0..bytes.len() - 5, &[]);
    assert_eq!(open, State { framing: framing::CHUNK, ..at_head(bytes.len() - 5, 1) });
    let pause = State::NEW.segment(bytes, 0..head.len(), &[]);
    assert_eq!(pause, State { framing: framing::CHUNK, ..at_head(head.len(), 1) });
    assert_eq!(all(bytes, &[true]), State { framing: framing::LOST, ..at_head(head.len(), 1) });
}

#[test]
fn what_clients_may_understand_otherwise_is_lost() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in
        ["5;a=b\r\nhello\r\n", "\r\n", "0\r\nA: b\r\n\r\n", "0\r\n", "123456789\r\n", "80000000\r\n", "5\n"]
    {
        assert_lost(&format!("{chunked}{chunk}"));
    }
    for head in [
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1  200 OK\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r",
    ] {
        assert_lost(head);
    }
}

#[test]
fn lengths_are_read_to_the_last_digit() {
    for len in [0, 7, 12_345_678, 123_456_789, 1_234_567_890_u32] {
        let head = format!("HTTP/1.1 200 OK\r\nA: b\r\nCONTENT-LENGTH: {len}\r\nB: c\r\n\r\n");
        assert_eq!(all(head.as_bytes(), &[]), at_head(head.len() + len as usize, 1));
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n";
        let stream = format!("{head}{len:x}\r\n");
        let open = State { framing: framing::CHUNK, ..at_head(stream.len() + len as usize + 2, 1) };
        if len != 0 {
            assert_eq!(all(stream.as_bytes(), &[]), open);
        }
    }
}

#[test]
fn long_heads_and_many_things_are_lost() {
    let head = |len: usize| format!("HTTP/1.1 204 OK\r\nA: {}\r\n\r\n", "x".repeat(len - 24));
    assert_eq!(all(head(MAX_HEAD).as_bytes(), &[]), at_head(MAX_HEAD, 1));
    assert_lost(&head(MAX_HEAD + 1));
    let one = "HTTP/1.1 204 No Content\r\n\r\n";
    let most = MAX_THINGS as usize;
    assert_eq!(all(one.repeat(most).as_bytes(), &[]), at_head(one.len() * most, most));
    assert_lost(&one.repeat(most + 1));
}

#[test]
fn a_gap_is_lost_and_a_repetition_is_nothing() {
    let stream = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let half = stream.len() / 2;
    let first = State::NEW.segment(stream, 0..half, &[]);
    assert_eq!(first.segment(stream, 0..half, &[]), first);
    assert_eq!(first.segment(stream, 5..half, &[]), first);
    assert_eq!(first.segment(stream, 0..stream.len(), &[]), at_head(stream.len(), 2));
    assert_eq!(State::NEW.segment(stream, half..stream.len(), &[]).framing, framing::LOST);
}

/// A head or a chunk's head in a stream: where it begins and ends, and what is known after it.
struct Thing {
    bytes: Range<usize>,
    then: State,
}

const LOST: State = State { next_at: 0, framing: framing::LOST, answered: 0 };

/// Everything in a stream, by `httparse`; ends with what is lost.
fn things(stream: &[u8], heads: &[bool]) -> Vec<Thing> {
    let (mut things, mut state) = (Vec::new(), State::NEW);
    while (state.next_at as usize) < stream.len() && state.framing != framing::LOST {
        let start = state.next_at as usize;
        let rest = &stream[start..];
        let (len, then) = match state.framing {
            framing::HEAD => head(rest, state, heads.get(state.answered).copied().unwrap_or_default()),
            _ => chunk_head(rest, state),
        };
        things.push(Thing { bytes: start..start + len, then });
        state = then;
    }
    things
}

fn head(rest: &[u8], state: State, is_head: bool) -> (usize, State) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(len)) = response.parse(rest) else { return (rest.len(), LOST) };
    let values = |name: &str| -> Vec<&[u8]> {
        response
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    let (lengths, encodings) = (values("content-length"), values("transfer-encoding"));
    let status = response.code.unwrap();
    if status == 101 {
        return (len, LOST);
    }
    let after = State { next_at: state.next_at + len as u32, ..state };
    if status < 200 {
        return (len, after);
    }
    let answered = State { answered: state.answered + 1, ..after };
    if is_head || matches!(status, 204 | 304) {
        return (len, answered);
    }
    match (&lengths[..], &encodings[..]) {
        ([length], []) => {
            let body: u32 = std::str::from_utf8(length).unwrap().parse().unwrap();
            (len, State { next_at: answered.next_at + body, ..answered })
        }
        ([], [_]) => (len, State { framing: framing::CHUNK, ..answered }),
        _ => (len, LOST),
    }
}

fn chunk_head(rest: &[u8], state: State) -> (usize, State) {
    let Ok(httparse::Status::Complete((len, size))) = httparse::parse_chunk_size(rest) else {
        return (rest.len(), LOST);
    };
    if size != 0 {
        return (len, State { next_at: state.next_at + len as u32 + size as u32 + 2, ..state });
    }
    if !rest[len..].starts_with(b"\r\n") {
        return (len, LOST);
    }
    (len + 2, State { next_at: state.next_at + len as u32 + 2, framing: framing::HEAD, ..state })
}

/// What is known after a segment that ends somewhere.
fn expected(things: &[Thing], before: State, end: usize) -> State {
    let mut state = before;
    for thing in
        things.iter().filter(|thing| thing.bytes.start >= before.next_at as usize && thing.bytes.start < end)
    {
        if state.framing == framing::LOST {
            break;
        }
        let is_whole = thing.bytes.end <= end;
        state = if is_whole { thing.then } else { LOST };
    }
    state
}

fn field() -> impl Strategy<Value = String> {
    let other =
        ("[A-Z][a-z_-]{0,18}", "[ -~\t]{0,40}").prop_map(|(name, value)| format!("X{name}:{value}\r\n"));
    prop_oneof![other, Just("content-lengthy: 5\r\n".into()), Just("transfer-encodinh: chunked\r\n".into())]
}

/// A response with its method's mark: status, other fields around the one that says how long it is, and body.
fn response() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let status = prop::sample::select(vec![200, 200, 200, 404, 204, 304, 100, 103, 500]);
    let fields = || prop::collection::vec(field(), 0..3).prop_map(|fields| fields.concat());
    let chunks = prop::collection::vec(1_usize..70, 0..6);
    (any::<u8>(), status, fields(), fields(), 0_usize..90, chunks).prop_map(
        |(kind, status, before, after, len, chunks)| {
            let is_head = kind % 8 == 7;
            let (field, body) = match kind % 4 {
                0 => (format!("Content-Length:{len}\r\n"), "x".repeat(len)),
                1 => (format!("content-LENGTH: {len}\r\n"), "HTTP/1.1 2".repeat(9)[..len].to_string()),
                _ => {
                    let chunk = |len: &usize| format!("{len:X}\r\n{}\r\n", "y".repeat(*len));
                    let body = chunks.iter().map(chunk).collect::<String>() + "0\r\n\r\n";
                    ("Transfer-Encoding: chunked\r\n".to_string(), body)
                }
            };
            let has_body = !is_head && !matches!(status, 100..=199 | 204 | 304);
            let body = if has_body { body } else { String::new() };
            (is_head, format!("HTTP/1.1 {status} Fine\r\n{before}{field}{after}\r\n{body}").into_bytes())
        },
    )
}

proptest! {
    #[test]
    fn segments_cut_anywhere_are_followed_as_the_oracle_says(
        responses in prop::collection::vec(response(), 1..7),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..8),
    ) {
        let stream: Vec<u8> = responses.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        // By response, not by request: after an interim one the marks are shifted, for walk and oracle alike.
        let heads: Vec<bool> = responses.iter().map(|(is_head, _)| *is_head).collect();
        let things = things(&stream, &heads);
        let mut ends: Vec<usize> = cuts.iter().map(|(cut, snaps)| {
            let cut = cut.index(stream.len()) + 1;
            let ends = things.iter().map(|thing| thing.bytes.end).filter(|end| *end >= cut);
            if *snaps { ends.min().unwrap_or(stream.len()) } else { cut }
        }).chain([stream.len()]).collect();
        ends.sort_unstable();
        let (mut start, mut found, mut wanted) = (0, State::NEW, State::NEW);
        for end in ends {
            if end == start {
                continue;
            }
            found = found.segment(&stream, start..end, &heads);
            wanted = expected(&things, wanted, end);
            prop_assert_eq!(found.framing, wanted.framing);
            if wanted.framing == framing::LOST {
                break;
            }
            prop_assert_eq!(found, wanted);
            // The whole of it again is nothing new.
            prop_assert_eq!(found.segment(&stream, 0..end, &heads), found);
            start = end;
        }
    }

    #[test]
    fn any_bytes_end_somewhere(stream in prop::collection::vec(prop::sample::select(b"HTP/1. 20\r\n:aCf;-0".to_vec()), 1..300)) {
        let state = all(&[b"HTTP/1.1 200 OK\r\n".to_vec(), stream].concat(), &[]);
        prop_assert!(matches!(state.framing, framing::HEAD | framing::CHUNK | framing::LOST));
    }
}

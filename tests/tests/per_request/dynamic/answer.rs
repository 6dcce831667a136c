//! Answers: at once, or in parts with a pause in the middle.
//!
//! | target | answer |
//! | --- | --- |
//! | `/parts/N…` | N bytes of the servers' content, with a length |
//! | `/chunks/N…` | the same in chunks |
//! | `/stream/N…` | the same up to the end of the connection |
//! | `/nothing…` | 204 |
//! | any other | what the request was |

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use tests::content;

use super::request::Request;

/// Between the halves of an answer in parts. Clients send their next requests meanwhile.
const PAUSE: Duration = Duration::from_millis(25);

/// Of a half, unless a chunk takes all of it.
const CHUNKS_OF_A_HALF: usize = 3;

/// Sends the answer; gives whether the connection stays open.
pub(super) fn send(to: &mut impl Write, name: &str, request: &Request, text: &str) -> io::Result<bool> {
    let stream = number_after(&request.target, "/stream/");
    let kept = request.is_kept() && stream.is_none();
    let connection = match (kept, request.is_http_10) {
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "",
        (false, _) => "Connection: close\r\n",
    };
    let fields = format!("X-Server: {name}\r\n{connection}");
    let has_body = request.method != "HEAD";
    if request.target.starts_with("/nothing") {
        at_once(to, &format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"))?;
    } else if let Some(length) = number_after(&request.target, "/chunks/") {
        at_once(to, &format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"))?;
        if has_body {
            in_chunks(to, &bytes(length))?;
        }
    } else if let Some(length) = stream {
        at_once(to, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))?;
        in_halves(to, &bytes(length), |to, half| to.write_all(half))?;
    } else if let Some(length) = number_after(&request.target, "/parts/") {
        at_once(to, &format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n"))?;
        if has_body {
            in_halves(to, &bytes(length), |to, half| to.write_all(half))?;
        }
    } else {
        let body = if has_body { text } else { "" };
        let length = text.len();
        at_once(to, &format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}"))?;
    }
    Ok(kept)
}

/// Refuses a request before its body is sent.
pub(super) fn refuse(to: &mut impl Write, name: &str) -> io::Result<()> {
    at_once(
        to,
        &format!(
            "HTTP/1.1 417 Expectation Failed\r\nX-Server: {name}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ),
    )
}

/// In one system call, as servers send their heads.
fn at_once(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())
}

fn in_chunks(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    in_halves(to, body, |to, half| {
        for chunk in half.chunks(half.len().div_ceil(CHUNKS_OF_A_HALF).max(1)) {
            to.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
        }
        Ok(())
    })?;
    to.write_all(b"0\r\n\r\n")
}

fn in_halves<W: Write>(
    to: &mut W,
    body: &[u8],
    mut send: impl FnMut(&mut W, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (first, second) = body.split_at(body.len() / 2);
    send(to, first)?;
    thread::sleep(PAUSE);
    send(to, second)
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    content::fill(0, &mut bytes);
    bytes
}

fn number_after(target: &str, start: &str) -> Option<usize> {
    target.strip_prefix(start)?.split(['?', '/']).next()?.parse().ok()
}

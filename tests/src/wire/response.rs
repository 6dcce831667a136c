//! A response as the scripted client has received it so far.

use anyhow::{Result, anyhow, ensure};

/// Status, server and body of an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The `X-Server` header.
    pub server: Option<String>,
    /// The `X-Cache` header: nginx's `$upstream_cache_status`.
    pub cache: Option<String>,
    pub body: Vec<u8>,
    /// Whether the sender closed with it.
    pub closed: bool,
    /// Payload of the largest packet that it came in.
    pub largest_packet: usize,
}

/// Splits the bytes of one response; `None` while it is not complete.
pub(crate) fn parse(bytes: &[u8], closed: bool) -> Result<Option<(Response, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(!closed, "the connection ended within a response head: {:?}", String::from_utf8_lossy(bytes));
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| anyhow!("no status in {head:?}"))?;
    let body = &bytes[end + 4..];
    let length = match header(head, "content-length") {
        Some(length) => length.parse()?,
        None if closed => body.len(),
        None => return Ok(None),
    };
    ensure!(!closed || body.len() >= length, "the connection ended after {} of {length} bytes", body.len());
    if body.len() < length {
        return Ok(None);
    }
    let server = header(head, "x-server").map(str::to_owned);
    let cache = header(head, "x-cache").map(str::to_owned);
    let response =
        Response { status, server, cache, body: body[..length].to_vec(), closed, largest_packet: 0 };
    Ok(Some((response, end + 4 + length)))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let named = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    };
    head.lines().skip(1).find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-Server: server2\r\nContent-Length: 3\r\n\r\nabcHTTP";
        for cut in 0..bytes.len() - 4 {
            assert_eq!(parse(&bytes[..cut], false).unwrap(), None, "{cut}");
        }
        let (response, length) = parse(bytes, false).unwrap().unwrap();
        assert_eq!((response.status, response.server.as_deref()), (200, Some("server2")));
        assert_eq!((response.body.as_slice(), length), (&b"abc"[..], bytes.len() - 4));
        assert!(parse(&bytes[..bytes.len() - 5], true).is_err());
    }
}

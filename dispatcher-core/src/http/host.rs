//! The host of a request: grammar of `host [":" port]` (RFC 3986 3.2.2, 3.2.3) and the comparison of `Host` with
//! the authority of the target. Does not resolve or normalise names beyond case and the default port.

use std::net::Ipv6Addr;

use super::Refusal;

/// Checks that `text` is a non-empty `host [":" port]`; the empty host is refused as RFC 9110 4.2.1 asks for
/// `http` URIs.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    let (host, port) = split(text);
    let valid_host = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && is_reg_name(host.as_bytes()),
    };
    let valid_port = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
    });
    if valid_host && valid_port { Ok(()) } else { Err(Refusal::HostInvalid) }
}

/// Whether two valid hosts name the same place: case aside, and `:80`, `:` and no port being one.
pub(super) fn same(a: &str, b: &str) -> bool {
    let ((host_a, port_a), (host_b, port_b)) = (split(a), split(b));
    host_a.eq_ignore_ascii_case(host_b) && port_or_default(port_a) == port_or_default(port_b)
}

fn port_or_default(port: Option<&str>) -> u16 {
    port.and_then(|p| p.parse().ok()).unwrap_or(80)
}

/// Splits at the colon that precedes the port, not at those inside an IPv6 literal.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    let literal_end = text.find(']').map_or(0, |i| i + 1);
    match text[literal_end..].find(':') {
        Some(i) => (&text[..literal_end + i], Some(&text[literal_end + i + 1..])),
        None => (text, None),
    }
}

fn is_reg_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((&b, tail)) = rest.split_first() {
        rest = match b {
            b'%' => match tail {
                [a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
                _ => return false,
            },
            _ if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b) => tail,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_grammar() {
        for good in ["a", "198.18.0.100", "a.example:8080", "a:", "[2001:db8::1]", "[::1]:80", "a_b", "%41"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "u@a", "a:b", "a:65536", "[::1", "::1", "[v1.a]", "a/b", "[::1]x", "%4",
            "a,b:1:2",
        ] {
            assert_eq!(check(bad), Err(Refusal::HostInvalid), "{bad}");
        }
    }

    #[test]
    fn case_and_default_port_do_not_make_hosts_differ() {
        assert!(same("A.example", "a.EXAMPLE:80"));
        assert!(same("[::1]:", "[::1]"));
        assert!(!same("a:81", "a"));
        assert!(!same("a", "b"));
    }
}

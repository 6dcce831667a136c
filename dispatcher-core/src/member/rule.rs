//! One rule of the member-table and its text, a line of four columns: `SOURCE PORT COOKIE PRIORITY`. Owns what may stand in
//! them and the reading of whole files of such lines; which rule counts is `table`'s business.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv6Net};
use thiserror::Error;

use super::MemberError;
use crate::{http::is_token, ids::Priority};

/// Column of a rule for any port.
const ANY: &str = "*";

/// Column of a rule that asks for no cookie.
const NONE: &str = "-";

/// A rule: clients from `source` and `port` that show `cookie` have `priority`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemberRule {
    /// Addresses of clients; no bit is set behind the prefix.
    pub source: IpNet,
    /// The client's own port, above 0; any if `None`. Clients choose it, so it proves nothing.
    pub port: Option<u16>,
    /// What the request must show, if anything.
    pub cookie: Option<CookieRule>,
    /// What such a request gets.
    pub priority: Priority,
}

/// A cookie that a request must have. Names and values are compared byte by byte; quotes around a value do not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CookieRule {
    /// A token (RFC 9110 5.6.2).
    pub name: String,
    /// Any value if `None`. Without quotes, semicolons and control characters.
    pub value: Option<String>,
}

/// A line is no rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Too few or too many columns.
    #[error("{0} columns are not a rule; write SOURCE PORT COOKIE PRIORITY, * for any port, - for no cookie")]
    Columns(usize),
    /// A quote without its fellow.
    #[error("a quote is not closed; write a cookie as NAME, NAME=VALUE or NAME=\"VALUE\"")]
    Quote,
    /// The first column is no prefix.
    #[error("source {text:?} is no prefix; write {instead}")]
    Source {
        /// The column.
        text: String,
        /// What was probably meant, or an example.
        instead: String,
    },
    /// The second column is no port.
    #[error("port {0:?} is no port; write 1 to 65535, or * for any")]
    Port(String),
    /// The third column's name is no cookie's name.
    #[error("cookie name {0:?} is not valid; use letters, digits and marks like - _ ., or - for no cookie")]
    CookieName(String),
    /// The third column's value cannot be a cookie's value.
    #[error("cookie value {0:?} is not valid; leave out quotes, semicolons and control characters")]
    CookieValue(String),
    /// The fourth column is no priority.
    #[error("priority {0:?} is no priority; write 0 (lowest) to 7 (highest)")]
    Priority(String),
}

impl FromStr for MemberRule {
    type Err = RuleError;

    fn from_str(line: &str) -> Result<Self, RuleError> {
        let columns = columns(line)?;
        let [source, port, cookie, priority] = columns[..] else {
            return Err(RuleError::Columns(columns.len()));
        };
        Ok(Self {
            source: parse_source(source)?,
            port: parse_port(port)?,
            cookie: if cookie == NONE { None } else { Some(parse_cookie(cookie)?) },
            priority: parse_priority(priority)?,
        })
    }
}

impl MemberRule {
    /// Checks what the types of the fields leave open, so that every rule can be written as text and read again.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        check_source(self.source, || self.source.to_string())?;
        if self.port == Some(0) {
            return Err(RuleError::Port("0".to_owned()));
        }
        self.cookie.as_ref().map_or(Ok(()), CookieRule::check)
    }
}

impl CookieRule {
    fn check(&self) -> Result<(), RuleError> {
        let name = &self.name;
        let is_dash = self.value.is_none() && name == NONE;
        if name.is_empty() || is_dash || !name.bytes().all(is_token) {
            return Err(RuleError::CookieName(name.clone()));
        }
        match &self.value {
            Some(value) if value.chars().any(|c| c.is_control() || c == '"' || c == ';') => {
                Err(RuleError::CookieValue(value.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a cookie of a request is the one.
    pub(super) fn matches(&self, (name, value): (&[u8], &[u8])) -> bool {
        name == self.name.as_bytes()
            && self.value.as_ref().is_none_or(|wanted| unquoted(value) == wanted.as_bytes())
    }
}

impl fmt::Display for MemberRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.source)?;
        match self.port {
            Some(port) => write!(f, "{port} ")?,
            None => write!(f, "{ANY} ")?,
        }
        match &self.cookie {
            Some(cookie) => write!(f, "{cookie} ")?,
            None => write!(f, "{NONE} ")?,
        }
        self.priority.fmt(f)
    }
}

impl fmt::Display for CookieRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.value {
            Some(value) if value.contains(char::is_whitespace) => write!(f, "=\"{value}\""),
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// A cookie's value without the quotes that RFC 6265 4.1.1 allows around it.
pub(super) fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Reads rules, one a line. A `#` that begins a column begins a comment.
///
/// # Errors
/// The first mistake, with `file` and line.
pub fn parse_rules(text: &str, file: &str) -> Result<Vec<MemberRule>, MemberError> {
    let (mut rules, mut lines) = (Vec::new(), HashMap::new());
    for (line, text) in (1..).zip(text.lines()) {
        let fail = |error| MemberError::Line { file: file.to_owned(), line, error };
        if columns(text).map_err(fail)?.is_empty() {
            continue;
        }
        let rule: MemberRule = text.parse().map_err(fail)?;
        if let Some(first) = lines.insert((rule.source, rule.port, rule.cookie.clone()), line) {
            return Err(MemberError::LineTwice { file: file.to_owned(), line, first });
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// Splits a line at blanks outside of quotes, up to a comment.
fn columns(line: &str) -> Result<Vec<&str>, RuleError> {
    let (mut columns, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() && !rest.starts_with('#') {
        let mut is_quoted = false;
        let end = rest.find(|c: char| {
            is_quoted ^= c == '"';
            !is_quoted && c.is_whitespace()
        });
        if is_quoted && end.is_none() {
            return Err(RuleError::Quote);
        }
        let (column, after) = rest.split_at(end.unwrap_or(rest.len()));
        columns.push(column);
        rest = after.trim_start();
    }
    Ok(columns)
}

fn parse_source(text: &str) -> Result<IpNet, RuleError> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(net) = net else {
        let example = || "one like 140.117.0.0/16, 2001:db8::/32 or 198.18.0.7".to_owned();
        let instead = starred(text).map_or_else(example, |net| net.to_string());
        return Err(RuleError::Source { text: text.to_owned(), instead });
    };
    check_source(net, || text.to_owned())?;
    Ok(net)
}

/// The prefix that the paper would write with stars, as in `140.117.*.*`.
fn starred(text: &str) -> Option<IpNet> {
    let parts: Vec<_> = text.split('.').collect();
    let fixed = parts.iter().position(|part| *part == ANY)?;
    if parts.len() != 4 || parts[fixed..].iter().any(|part| *part != ANY) {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, part) in octets.iter_mut().zip(&parts[..fixed]) {
        *octet = part.parse().ok()?;
    }
    IpNet::new(Ipv4Addr::from(octets).into(), fixed as u8 * 8).ok()
}

fn check_source(net: IpNet, text: impl FnOnce() -> String) -> Result<(), RuleError> {
    let meant = match net {
        IpNet::V4(_) => net,
        IpNet::V6(v6) => mapped(v6).unwrap_or(net),
    };
    if net == meant.trunc() {
        return Ok(());
    }
    Err(RuleError::Source { text: text(), instead: meant.trunc().to_string() })
}

/// The IPv4 prefix that a mapped one stands for.
fn mapped(net: Ipv6Net) -> Option<IpNet> {
    let (address, len) = (net.addr().to_ipv4_mapped()?, net.prefix_len().checked_sub(96)?);
    IpNet::new(address.into(), len).ok()
}

fn parse_port(text: &str) -> Result<Option<u16>, RuleError> {
    match text.parse::<u16>() {
        _ if text == ANY => Ok(None),
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(Some(port)),
        _ => Err(RuleError::Port(text.to_owned())),
    }
}

fn parse_cookie(text: &str) -> Result<CookieRule, RuleError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(String::from_utf8_lossy(unquoted(value.as_bytes())).into_owned())),
        None => (text, None),
    };
    let cookie = CookieRule { name: name.to_owned(), value };
    cookie.check()?;
    Ok(cookie)
}

fn parse_priority(text: &str) -> Result<Priority, RuleError> {
    match text.as_bytes() {
        [digit @ b'0'..=b'7'] => Priority::new(digit - b'0'),
        _ => None,
    }
    .ok_or_else(|| RuleError::Priority(text.to_owned()))
}

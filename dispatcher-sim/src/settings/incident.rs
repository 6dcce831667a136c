//! What happens to single servers: they slow down, they fail and return. Servers are counted from 1, as in tables.

use std::{fmt, ops::Range, str::FromStr};

use thiserror::Error;

use crate::span::Span;

/// An incident is not written as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {form}")]
pub struct BadIncident {
    text: String,
    form: &'static str,
}

/// A server that is slower, always or for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slowdown {
    /// Which one, from 1.
    pub server: u16,
    /// Its service times in 1/1000 of the usual.
    pub factor_permille: u64,
    /// When.
    pub during: Range<Span>,
}

/// A server that fails and returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one, from 1.
    pub server: u16,
    /// When.
    pub during: Range<Span>,
}

impl Slowdown {
    /// A server that is slower by `factor` from beginning to end.
    #[must_use]
    pub fn always(server: u16, factor: u64) -> Self {
        Self { server, factor_permille: factor * 1000, during: Span(0)..Span(u64::MAX) }
    }
}

impl FromStr for Slowdown {
    type Err = BadIncident;

    fn from_str(text: &str) -> Result<Self, BadIncident> {
        let parse = || {
            let (who, during) = match text.split_once('@') {
                Some((who, during)) => (who, range(during)?),
                None => (text, Span(0)..Span(u64::MAX)),
            };
            let (server, factor) = who.split_once(':')?;
            let factor_permille = (factor.parse::<f64>().ok().filter(|f| *f > 0.0)? * 1000.0) as u64;
            Some(Self { server: number(server)?, factor_permille, during })
        };
        parse().ok_or_else(|| BadIncident {
            text: text.to_owned(),
            form: "SERVER:FACTOR or SERVER:FACTOR@FROM..TO, as in 1:3 or 1:3@10s..20s",
        })
    }
}

impl FromStr for Failure {
    type Err = BadIncident;

    fn from_str(text: &str) -> Result<Self, BadIncident> {
        let parse = || {
            let (server, during) = text.split_once('@')?;
            Some(Self { server: number(server)?, during: range(during)? })
        };
        parse()
            .ok_or_else(|| BadIncident { text: text.to_owned(), form: "SERVER@FROM..TO, as in 2@10s..20s" })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}..{}", self.server, self.during.start, self.during.end)
    }
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&server| server > 0)
}

fn range(text: &str) -> Option<Range<Span>> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some(from..to)
}

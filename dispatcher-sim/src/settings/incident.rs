//! What happens to single servers: they slow down, they fail and return. Servers are counted from 1, as in tables.
//! Owns how people write that.

use std::{ops::Range, str::FromStr};

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

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&server| server > 0)
}

fn range(text: &str) -> Option<Range<Span>> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn incidents_are_read_as_they_are_documented() {
        assert_eq!("1:3".parse(), Ok(Slowdown::always(1, 3)));
        let during = Span::s(10)..Span::s(20);
        assert_eq!(
            "1:1.5@10s..20s".parse(),
            Ok(Slowdown { server: 1, factor_permille: 1500, during: during.clone() })
        );
        assert_eq!("2@10s..20s".parse(), Ok(Failure { server: 2, during }));
        for bad in ["1", "0:3", "1:0", "1:x", "1:3@20s..10s", "x:1", "1:3@10s"] {
            assert!(bad.parse::<Slowdown>().is_err(), "{bad}");
        }
        for bad in ["1", "0@1s..2s", "1@2s..1s", "1@1..2"] {
            assert!(bad.parse::<Failure>().is_err(), "{bad}");
        }
    }

    #[test]
    fn incidents_need_their_server() {
        let mut cluster = Settings::default().cluster;
        cluster.slow.push(Slowdown::always(8, 3));
        assert_eq!(cluster.check(), Ok(()));
        cluster.slow.push(Slowdown::always(9, 3));
        assert!(cluster.check().is_err());
    }
}

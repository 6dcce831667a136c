//! Parameters of the front-end: feedback and admission. The policy is a [`Contender`](crate::contender::Contender).
//! Owns the paper's formula for S.

use std::{fmt, num::ParseIntError, str::FromStr};

use clap::{Args, ValueEnum};

use crate::span::Span;

/// S: most connections that the front-end lets in at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The paper's `(N - 1) * T_high + T_low - 1`, with 65 and 55.
    Paper,
    /// A number.
    Connections(u64),
    /// None.
    Unlimited,
}

impl Limit {
    /// The number for `servers` servers.
    #[must_use]
    pub fn connections(self, servers: u16) -> u64 {
        match self {
            Self::Paper => (u64::from(servers) - 1) * 65 + 55 - 1,
            Self::Connections(count) => count,
            Self::Unlimited => u64::MAX,
        }
    }
}

impl FromStr for Limit {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text {
            "paper" => Ok(Self::Paper),
            "none" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Connections),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paper => f.write_str("paper"),
            Self::Connections(count) => count.fmt(f),
            Self::Unlimited => f.write_str("none"),
        }
    }
}

/// What becomes of a connection beyond S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverLimit {
    /// It waits at the front-end
    Wait,
    /// It is refused
    Reject,
    /// It takes the place of one of a lower level that waits at a server, else it is refused (Fig. 3)
    Evict,
}

/// What becomes of a request whose server's queue is full by what the front-end knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    /// It is sent nevertheless, and dropped there
    Send,
    /// The policy chooses among those with room
    Other,
    /// The front-end refuses it, or with --over-limit evict gives it the place of one of a lower level there
    Refuse,
}

/// The front-end.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Front-end")]
pub struct FrontSettings {
    /// Time between two reports of a server
    #[arg(long, value_name = "TIME", default_value_t = Span::ms(10))]
    pub period: Span,
    /// Time that a report is under way
    #[arg(long, value_name = "TIME", default_value_t = Span::default())]
    pub delay: Span,
    /// S: connections let in at once: a number, `paper` or `none`
    #[arg(long, value_name = "S", default_value_t = Limit::Paper)]
    pub limit: Limit,
    /// What becomes of a connection beyond S
    #[arg(long, value_enum, default_value_t = OverLimit::Wait)]
    pub over_limit: OverLimit,
    /// What becomes of a request whose server's queue is full
    #[arg(long, value_enum, default_value_t = WhenFull::Refuse)]
    pub when_full: WhenFull,
}

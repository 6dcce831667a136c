//! The packet classifier: which priority a client has, by its address, its port and its cookies (Fig. 2, Table 1 of the paper).
//! Owns the rules, their text, their order and their compiled form for the kernel's table; reading files and writing maps is
//! elsewhere.
//!
//! A rule that names a port is as good as the client's honesty: ports are chosen by clients, and so are cookies that nobody
//! signed. Only addresses (proved by the handshake) and [`SignedCookies`] tell clients apart safely.

mod prefix;
mod rule;
mod signed;
mod table;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use rule::{CookieRule, MemberRule, RuleError, parse_rules};
pub use signed::{SignedCookieError, SignedCookies};
pub use table::{Basis, MAX_ENTRIES, MAX_RULES, MemberTable, Membership};

/// A set of rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MemberError {
    /// A line of a file is no rule.
    #[error("{file}:{line}: {error}")]
    Line {
        /// The file as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: RuleError,
    },
    /// Two lines of a file are for the same clients.
    #[error("{file}:{line}: source, port and cookie are those of line {first}; remove one")]
    LineTwice {
        /// The file as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The earlier one.
        first: usize,
    },
    /// A rule that was not read from text could not be written as text.
    #[error("rule `{rule}` is not valid: {error}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        error: RuleError,
    },
    /// Two rules are for the same clients.
    #[error("rules `{first}` and `{second}` have the same source, port and cookie; remove one")]
    Twice {
        /// The earlier rule.
        first: String,
        /// The later one.
        second: String,
    },
    /// More than [`MAX_RULES`].
    #[error("{0} rules are more than {MAX_RULES}; join neighbouring prefixes")]
    TooManyRules(usize),
    /// More than [`MAX_ENTRIES`].
    #[error(
        "rules make more than {MAX_ENTRIES} entries of the kernel's table; give fewer ports to wide prefixes, as each such port \
         repeats all rules for any port below"
    )]
    TooManyEntries,
}

//! Who competes: a policy with its parameters and its number of classes, and how people write and read that.
//! Owns the short form of the command line; parameters and their defaults are the policies'.

use std::{fmt, str::FromStr, time::Duration};

use dispatcher_core::policy::{
    Context, Lard, LardR, LardSettings, LoadThreshold, NAMES, PolicySettings, TableKind, UnknownPolicy,
};
use thiserror::Error;

/// K where nothing else is said: the daemon's default.
pub const DEFAULT_CLASSES: u16 = 20;

/// A policy in a comparison. Written `name:parameter:parameter`, as in `context:faithful:50`, `context:100:48x`,
/// `lard:55/65`; it displays as tables and legends call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// The policy.
    pub policy: PolicySettings,
    /// K.
    pub classes: u16,
}

/// A contender is not written as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadContender {
    /// No such policy.
    #[error(transparent)]
    Policy(#[from] UnknownPolicy),
    /// No such parameter.
    #[error(
        "{0:?} is no parameter of {1:?}; context takes faithful, sticky, replicated or weighted, K as in 50 and T_load as in \
         48x or 600ms; lard and lard-r take T_low/T_high as in 25/65"
    )]
    Parameter(String, String),
}

impl Contender {
    /// A policy with its defaults.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let policy = PolicySettings { name: name.to_owned(), ..PolicySettings::default() };
        Self { policy, classes: DEFAULT_CLASSES }
    }

    /// The context policy with K classes.
    #[must_use]
    pub fn context(table: TableKind, classes: u16) -> Self {
        let policy = PolicySettings { table, ..PolicySettings::default() };
        Self { policy, classes }
    }

    /// LARD or LARD/R with its limits.
    #[must_use]
    pub fn lard(name: &str, t_low: u32, t_high: u32) -> Self {
        let lard = LardSettings { t_low, t_high, ..LardSettings::default() };
        Self { policy: PolicySettings { lard, ..Self::named(name).policy }, classes: DEFAULT_CLASSES }
    }

    /// Sets what `parameter` names, if the policy has such a thing.
    fn set(&mut self, parameter: &str) -> Option<()> {
        match self.policy.name.as_str() {
            Context::NAME => self.set_context(parameter),
            Lard::NAME | LardR::NAME => {
                let (low, high) = parameter.split_once('/')?;
                self.policy.lard.t_low = low.parse().ok()?;
                self.policy.lard.t_high = high.parse().ok()?;
                Some(())
            }
            _ => None,
        }
    }

    fn set_context(&mut self, parameter: &str) -> Option<()> {
        if let Some(table) = table_kind(parameter) {
            self.policy.table = table;
        } else if let Ok(classes) = parameter.parse() {
            self.classes = classes;
        } else {
            self.policy.load_threshold = Some(threshold(parameter)?);
        }
        (self.classes > 0).then_some(())
    }
}

impl FromStr for Contender {
    type Err = BadContender;

    fn from_str(text: &str) -> Result<Self, BadContender> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if !NAMES.contains(&name) {
            return Err(UnknownPolicy { name: name.to_owned() }.into());
        }
        let mut contender = Self::named(name);
        for part in parts {
            contender.set(part).ok_or_else(|| BadContender::Parameter(part.to_owned(), name.to_owned()))?;
        }
        Ok(contender)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, classes } = self;
        f.write_str(&policy.name)?;
        match policy.name.as_str() {
            Context::NAME => {
                write!(f, " {}, K={classes}", table_name(policy.table))?;
                match policy.load_threshold() {
                    threshold if threshold == policy.table.load_threshold() => Ok(()),
                    LoadThreshold::Requests(count) => write!(f, ", {count}x"),
                    LoadThreshold::Work(work) => write!(f, ", {}", humantime::format_duration(work)),
                }
            }
            Lard::NAME | LardR::NAME => write!(f, " {}/{}", policy.lard.t_low, policy.lard.t_high),
            _ => Ok(()),
        }
    }
}

fn table_kind(word: &str) -> Option<TableKind> {
    [TableKind::Faithful, TableKind::Sticky, TableKind::Replicated, TableKind::Weighted]
        .into_iter()
        .find(|&kind| table_name(kind) == word)
}

/// The word for a table, in configurations too.
#[must_use]
pub fn table_name(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Faithful => "faithful",
        TableKind::Sticky => "sticky",
        TableKind::Replicated => "replicated",
        TableKind::Weighted => "weighted",
    }
}

fn threshold(text: &str) -> Option<LoadThreshold> {
    match text.strip_suffix('x') {
        Some(count) => count.parse().ok().map(LoadThreshold::Requests),
        None => humantime::parse_duration(text).ok().map(|work: Duration| LoadThreshold::Work(work)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_read_as_they_are_documented() {
        for (text, shown) in [
            ("context:faithful:50", "context faithful, K=50"),
            ("context:100:sticky:16x", "context sticky, K=100, 16x"),
            ("context", "context weighted, K=20"),
            ("context:48x:128", "context weighted, K=128, 48x"),
            ("context:128:weighted:72x", "context weighted, K=128"),
            ("context:sticky:600ms", "context sticky, K=20, 600ms"),
            ("lard:55/65", "lard 55/65"),
            ("lard-r", "lard-r 25/65"),
            ("round-robin", "round-robin"),
        ] {
            assert_eq!(text.parse::<Contender>().map(|c| c.to_string()).as_deref(), Ok(shown));
        }
        for bad in ["", "lards", "lard:5", "context:0", "context:soft", "hash:20", "context:48q"] {
            assert!(bad.parse::<Contender>().is_err(), "{bad}");
        }
    }
}

//! The keys of `[[service]]` that choose and tune its policy. Owns their ranges and which policy each belongs to; their
//! defaults are the policies' own.

use std::{ops::Range, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    error::{ConfigError, Source},
    quantity::{Period, Threshold, within},
};
use crate::policy::{
    self, BoundedHash, Context, Lard, LardR, LardSettings, PolicySettings, Prequal, PrequalSettings,
    TableKind,
};

/// Range of T_low and T_high, in requests.
const REQUESTS: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// Most targets: a table of so many takes 1 to 2 GB.
const MOST_TARGETS: i64 = 1 << 24;

/// Range of the time after which a set of LARD/R shrinks.
const SET_TIMEOUTS: std::ops::RangeInclusive<Period> =
    Period(Duration::from_millis(100))..=Period(Duration::from_secs(24 * 3600));

/// The keys as they stand in the file.
#[derive(Debug)]
pub(super) struct PolicyKeys {
    pub(super) policy: Option<Spanned<String>>,
    pub(super) table: Option<Spanned<TableWord>>,
    pub(super) load_threshold: Option<Spanned<Threshold>>,
    pub(super) t_low: Option<Spanned<i64>>,
    pub(super) t_high: Option<Spanned<i64>>,
    pub(super) max_targets: Option<Spanned<i64>>,
    pub(super) set_timeout: Option<Spanned<Period>>,
    pub(super) balance_factor: Option<Spanned<i64>>,
    pub(super) rif_quantile: Option<Spanned<i64>>,
    pub(super) probe_pool: Option<Spanned<i64>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TableWord {
    Faithful,
    Sticky,
    Replicated,
    Weighted,
}

impl From<TableWord> for TableKind {
    fn from(word: TableWord) -> Self {
        match word {
            TableWord::Faithful => Self::Faithful,
            TableWord::Sticky => Self::Sticky,
            TableWord::Replicated => Self::Replicated,
            TableWord::Weighted => Self::Weighted,
        }
    }
}

fn span<T>(key: &Option<Spanned<T>>) -> Option<Range<usize>> {
    key.as_ref().map(Spanned::span)
}

impl PolicyKeys {
    /// Checks the values, and that every key that is given means something to the policy.
    pub(super) fn convert(self, source: Source<'_>) -> Result<PolicySettings, ConfigError> {
        self.check_name(source)?;
        self.check_owners(source)?;
        let default = PolicySettings::default();
        let factor = i64::from(default.balance_factor_percent);
        let factors = i64::from(*BoundedHash::FACTORS.start())..=i64::from(*BoundedHash::FACTORS.end());
        Ok(PolicySettings {
            lard: lard(source, self.t_low, self.t_high, self.max_targets, self.set_timeout)?,
            balance_factor_percent: within(source, "balance_factor", self.balance_factor, factor, factors)?
                as u32,
            prequal: prequal(source, self.rif_quantile, self.probe_pool)?,
            name: self.policy.map_or(default.name, Spanned::into_inner),
            table: self.table.map_or(default.table, |word| word.into_inner().into()),
            load_threshold: self.load_threshold.map(|value| value.into_inner().0),
        })
    }

    fn check_name(&self, source: Source<'_>) -> Result<(), ConfigError> {
        match &self.policy {
            Some(name) if !policy::NAMES.contains(&name.get_ref().as_str()) => {
                let error = policy::UnknownPolicy { name: name.get_ref().clone() };
                Err(source.error(name.span(), error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn check_owners(&self, source: Source<'_>) -> Result<(), ConfigError> {
        let name = self.policy.as_ref().map_or(Context::NAME, |name| name.get_ref());
        let (context, lard_r, lards) =
            (&[Context::NAME][..], &[LardR::NAME][..], &[Lard::NAME, LardR::NAME][..]);
        let owners = [
            ("table", span(&self.table), context),
            ("load_threshold", span(&self.load_threshold), context),
            ("t_low", span(&self.t_low), lards),
            ("t_high", span(&self.t_high), lards),
            ("max_targets", span(&self.max_targets), lards),
            ("set_timeout", span(&self.set_timeout), lard_r),
            ("balance_factor", span(&self.balance_factor), &[BoundedHash::NAME]),
            ("rif_quantile", span(&self.rif_quantile), &[Prequal::NAME]),
            ("probe_pool", span(&self.probe_pool), &[Prequal::NAME]),
        ];
        for (key, span, owners) in owners {
            if let Some(span) = span.filter(|_| !owners.contains(&name)) {
                return Err(source.error(span, format!("{key} means nothing to policy {name:?}; remove it")));
            }
        }
        Ok(())
    }
}

fn lard(
    source: Source<'_>,
    t_low: Option<Spanned<i64>>,
    t_high: Option<Spanned<i64>>,
    max_targets: Option<Spanned<i64>>,
    set_timeout: Option<Spanned<Period>>,
) -> Result<LardSettings, ConfigError> {
    let default = LardSettings::default();
    let place = span(&t_low).or(span(&t_high)).unwrap_or(0..0);
    let low = within(source, "t_low", t_low, default.t_low.into(), REQUESTS)?;
    let high = within(source, "t_high", t_high, default.t_high.into(), REQUESTS)?;
    if low >= high {
        let message = format!("t_low is {low}, not below t_high, {high}; lower it or raise that");
        return Err(source.error(place, message));
    }
    let timeout = Period(default.set_timeout);
    let most = within(source, "max_targets", max_targets, default.max_targets.into(), 1..=MOST_TARGETS)?;
    Ok(LardSettings {
        t_low: low as u32,
        t_high: high as u32,
        max_targets: most as u32,
        set_timeout: within(source, "set_timeout", set_timeout, timeout, SET_TIMEOUTS)?.0,
    })
}

fn prequal(
    source: Source<'_>,
    rif_quantile: Option<Spanned<i64>>,
    probe_pool: Option<Spanned<i64>>,
) -> Result<PrequalSettings, ConfigError> {
    let default = PrequalSettings::default();
    let percent = i64::from(default.rif_quantile_percent);
    let most = dispatcher_common::limits::MAX_SERVERS as i64;
    Ok(PrequalSettings {
        rif_quantile_percent: within(source, "rif_quantile", rif_quantile, percent, 1..=100)? as u8,
        pool: within(source, "probe_pool", probe_pool, default.pool.into(), 2..=most)? as u16,
    })
}

//! `[admission]`, and `[service.admission]` that overrides it key by key. Owns their ranges and how the two are joined; their
//! defaults, and what the settings mean, are `admission`'s.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use dispatcher_common::limits::{MAX_PRIORITY, PRIORITIES};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    error::{ConfigError, Source},
    quantity::{Period, Threshold, within},
};
use crate::{
    admission::{AdjustSettings, AdmissionSettings, ConnectionLimit, EvictionSettings, SourceLimits, Way},
    policy::LoadThreshold,
};

/// Range of connections, as of `max_filters`.
const CONNECTIONS: RangeInclusive<i64> = 1..=1 << 26;

/// Range of T_low and T_high.
const PER_SERVER: RangeInclusive<i64> = 1..=1_000_000;

/// Range of rates in a second; 0 is a word of its own.
const RATES: RangeInclusive<i64> = 0..=1_000_000;

/// Range of times that a flow or a signal lasts.
const TIMES: RangeInclusive<Period> =
    Period(Duration::from_millis(10))..=Period(Duration::from_secs(24 * 3600));

/// Range of times that may be nothing.
const TIMES_FROM_ZERO: RangeInclusive<Period> =
    Period(Duration::ZERO)..=Period(Duration::from_secs(24 * 3600));

/// Range of `Retry-After`, which has no smaller unit.
const RETRIES: RangeInclusive<Period> =
    Period(Duration::from_secs(1))..=Period(Duration::from_secs(24 * 3600));

/// The keys of either table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdmissionFile {
    connection_limit: Option<Spanned<LimitWord>>,
    t_high: Option<Spanned<i64>>,
    t_low: Option<Spanned<i64>>,
    load_bound: Option<Spanned<LoadWord>>,
    load_reserve: Option<Spanned<i64>>,
    cpu_bound: Option<Spanned<PercentWord>>,
    listen_overflows: Option<bool>,
    hysteresis: Option<Spanned<i64>>,
    hold: Option<Spanned<Period>>,
    refusal: Option<WayWord>,
    refusals: Option<BTreeMap<String, Spanned<WayWord>>>,
    retry_after: Option<Spanned<Period>>,
    idle_after: Option<Spanned<Period>>,
    min_age: Option<Spanned<Period>>,
    evict_mid_response: Option<bool>,
    evictions_per_second: Option<Spanned<i64>>,
    evictions_per_source: Option<Spanned<i64>>,
    eviction_prefix_ipv4: Option<Spanned<i64>>,
    eviction_prefix_ipv6: Option<Spanned<i64>>,
    idle_levels: Option<Spanned<i64>>,
    idle_step: Option<Spanned<Period>>,
    delay_levels: Option<Spanned<i64>>,
    delay_step: Option<Spanned<Period>>,
    connections_per_second: Option<Spanned<i64>>,
    open_connections: Option<Spanned<i64>>,
    source_prefix_ipv4: Option<Spanned<i64>>,
    source_prefix_ipv6: Option<Spanned<i64>>,
    source_refusal: Option<SourceWayWord>,
}

/// `"none"`, `"paper"` or a number.
#[derive(Debug, Clone, Copy)]
enum LimitWord {
    None,
    Paper,
    Fixed(i64),
}

/// `"none"` or T.
#[derive(Debug, Clone, Copy)]
struct LoadWord(Option<LoadThreshold>);

/// `"none"` or a number.
#[derive(Debug, Clone, Copy)]
struct PercentWord(Option<i64>);

#[derive(Debug, Clone, Copy, Deserialize)]
enum WayWord {
    #[serde(rename = "503")]
    Respond,
    #[serde(rename = "reset")]
    Reset,
    #[serde(rename = "drop")]
    Drop,
}

/// Sources above their limits get no response: it would cost more than a request.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SourceWayWord {
    Reset,
    Drop,
}

impl From<SourceWayWord> for Way {
    fn from(word: SourceWayWord) -> Self {
        match word {
            SourceWayWord::Reset => Self::Reset,
            SourceWayWord::Drop => Self::Drop,
        }
    }
}

impl From<WayWord> for Way {
    fn from(word: WayWord) -> Self {
        match word {
            WayWord::Respond => Self::Respond,
            WayWord::Reset => Self::Reset,
            WayWord::Drop => Self::Drop,
        }
    }
}

impl AdmissionFile {
    /// The settings of a service: its own keys, for all others those of the front-end, then the defaults. `None` if neither has
    /// the table.
    pub(super) fn settle(
        source: Source<'_>,
        own: Option<Self>,
        front: Option<&Self>,
    ) -> Result<Option<AdmissionSettings>, ConfigError> {
        match (own, front) {
            (None, None) => Ok(None),
            (own, front) => own.unwrap_or_default().or(front).convert(source).map(Some),
        }
    }

    /// Checks values that no service may use.
    pub(super) fn check(&self, source: Source<'_>) -> Result<(), ConfigError> {
        self.clone().convert(source).map(drop)
    }

    fn or(self, front: Option<&Self>) -> Self {
        let Some(front) = front.cloned() else { return self };
        Self {
            connection_limit: self.connection_limit.or(front.connection_limit),
            t_high: self.t_high.or(front.t_high),
            t_low: self.t_low.or(front.t_low),
            load_bound: self.load_bound.or(front.load_bound),
            load_reserve: self.load_reserve.or(front.load_reserve),
            cpu_bound: self.cpu_bound.or(front.cpu_bound),
            listen_overflows: self.listen_overflows.or(front.listen_overflows),
            hysteresis: self.hysteresis.or(front.hysteresis),
            hold: self.hold.or(front.hold),
            refusal: self.refusal.or(front.refusal),
            refusals: self.refusals.or(front.refusals),
            retry_after: self.retry_after.or(front.retry_after),
            idle_after: self.idle_after.or(front.idle_after),
            min_age: self.min_age.or(front.min_age),
            evict_mid_response: self.evict_mid_response.or(front.evict_mid_response),
            evictions_per_second: self.evictions_per_second.or(front.evictions_per_second),
            evictions_per_source: self.evictions_per_source.or(front.evictions_per_source),
            eviction_prefix_ipv4: self.eviction_prefix_ipv4.or(front.eviction_prefix_ipv4),
            eviction_prefix_ipv6: self.eviction_prefix_ipv6.or(front.eviction_prefix_ipv6),
            idle_levels: self.idle_levels.or(front.idle_levels),
            idle_step: self.idle_step.or(front.idle_step),
            delay_levels: self.delay_levels.or(front.delay_levels),
            delay_step: self.delay_step.or(front.delay_step),
            connections_per_second: self.connections_per_second.or(front.connections_per_second),
            open_connections: self.open_connections.or(front.open_connections),
            source_prefix_ipv4: self.source_prefix_ipv4.or(front.source_prefix_ipv4),
            source_prefix_ipv6: self.source_prefix_ipv6.or(front.source_prefix_ipv6),
            source_refusal: self.source_refusal.or(front.source_refusal),
        }
    }

    fn convert(self, source: Source<'_>) -> Result<AdmissionSettings, ConfigError> {
        let default = AdmissionSettings::default();
        let (t_low, t_high) = self.thresholds(source, &default)?;
        let hysteresis = default.hysteresis_percent.into();
        let reserve = default.load_reserve_percent.into();
        Ok(AdmissionSettings {
            limit: self.limit(source)?,
            t_high,
            t_low,
            load_bound: self.load_bound(source, default.load_bound)?,
            load_reserve_percent: within(source, "load_reserve", self.load_reserve.clone(), reserve, 0..=90)?
                as u8,
            cpu_percent: self.cpu_percent(source)?,
            ways: self.ways(source)?,
            retry_after: self.retry_after(source, default.retry_after)?,
            eviction: self.eviction(source)?,
            adjusting: self.adjusting(source)?,
            sources: self.sources(source)?,
            listen_overflows: self.listen_overflows.unwrap_or(default.listen_overflows),
            hysteresis_percent: within(source, "hysteresis", self.hysteresis, hysteresis, 0..=90)? as u8,
            hold: within(source, "hold", self.hold, Period(default.hold), TIMES)?.0,
        })
    }

    fn limit(&self, source: Source<'_>) -> Result<ConnectionLimit, ConfigError> {
        let Some(limit) = &self.connection_limit else { return Ok(ConnectionLimit::default()) };
        Ok(match *limit.get_ref() {
            LimitWord::None => ConnectionLimit::None,
            LimitWord::Paper => ConnectionLimit::Paper,
            LimitWord::Fixed(count) => {
                let count = Some(Spanned::new(limit.span(), count));
                ConnectionLimit::Fixed(within(source, "connection_limit", count, 0, CONNECTIONS)? as u32)
            }
        })
    }

    fn thresholds(&self, source: Source<'_>, default: &AdmissionSettings) -> Result<(u32, u32), ConfigError> {
        let low = within(source, "t_low", self.t_low.clone(), default.t_low.into(), PER_SERVER)?;
        let high = within(source, "t_high", self.t_high.clone(), default.t_high.into(), PER_SERVER)?;
        if low > high {
            let place = self.t_low.as_ref().or(self.t_high.as_ref()).map_or(0..0, Spanned::span);
            let message = format!("t_low is {low}, above t_high, {high}; lower it or raise that");
            return Err(source.error(place, message));
        }
        Ok((low as u32, high as u32))
    }

    fn load_bound(
        &self,
        source: Source<'_>,
        default: Option<LoadThreshold>,
    ) -> Result<Option<LoadThreshold>, ConfigError> {
        let Some(bound) = &self.load_bound else { return Ok(default) };
        match bound.get_ref().0 {
            Some(LoadThreshold::Requests(0) | LoadThreshold::Work(Duration::ZERO)) => {
                let message = "load_bound is 0; use 1x or more, or \"none\" to leave the load aside";
                Err(source.error(bound.span(), message))
            }
            bound => Ok(bound),
        }
    }

    fn cpu_percent(&self, source: Source<'_>) -> Result<Option<u8>, ConfigError> {
        let Some(bound) = &self.cpu_bound else { return Ok(None) };
        let percent = bound.get_ref().0.map(|percent| Some(Spanned::new(bound.span(), percent)));
        let percent = percent.map(|percent| within(source, "cpu_bound", percent, 0, 1..=100));
        Ok(percent.transpose()?.map(|percent| percent as u8))
    }

    fn ways(&self, source: Source<'_>) -> Result<[Way; PRIORITIES], ConfigError> {
        let mut ways = [self.refusal.map_or_else(Way::default, Way::from); PRIORITIES];
        for (priority, way) in self.refusals.iter().flatten() {
            let digit = |text: &str| text.len() == 1 && text <= MAX_PRIORITY.to_string().as_str();
            let level = priority.parse::<usize>().ok().filter(|_| digit(priority));
            let Some(own) = level.and_then(|level| ways.get_mut(level)) else {
                let message = format!("refusals has a priority {priority:?}; use 0 to {MAX_PRIORITY}");
                return Err(source.error(way.span(), message));
            };
            *own = (*way.get_ref()).into();
        }
        Ok(ways)
    }

    fn retry_after(&self, source: Source<'_>, default: Duration) -> Result<Duration, ConfigError> {
        let period = within(source, "retry_after", self.retry_after.clone(), Period(default), RETRIES)?;
        if period.0.subsec_nanos() != 0 {
            let span = self.retry_after.as_ref().map_or(0..0, Spanned::span);
            let message =
                format!("retry_after is {period}; HTTP has whole seconds only, use one like \"5s\"");
            return Err(source.error(span, message));
        }
        Ok(period.0)
    }

    fn eviction(&self, source: Source<'_>) -> Result<EvictionSettings, ConfigError> {
        let default = EvictionSettings::default();
        let (idle, age) = (Period(default.idle_after), Period(default.min_age));
        let rate = |key, value: &Option<Spanned<i64>>, default: u32| {
            within(source, key, value.clone(), default.into(), RATES).map(|rate| rate as u32)
        };
        Ok(EvictionSettings {
            idle_after: within(source, "idle_after", self.idle_after.clone(), idle, TIMES)?.0,
            min_age: within(source, "min_age", self.min_age.clone(), age, TIMES_FROM_ZERO)?.0,
            mid_response: self.evict_mid_response.unwrap_or(default.mid_response),
            per_second: rate("evictions_per_second", &self.evictions_per_second, default.per_second)?,
            per_source: rate("evictions_per_source", &self.evictions_per_source, default.per_source)?,
            prefix_ipv4: small(
                source,
                "eviction_prefix_ipv4",
                &self.eviction_prefix_ipv4,
                default.prefix_ipv4,
                32,
            )?,
            prefix_ipv6: small(
                source,
                "eviction_prefix_ipv6",
                &self.eviction_prefix_ipv6,
                default.prefix_ipv6,
                128,
            )?,
        })
    }

    fn adjusting(&self, source: Source<'_>) -> Result<AdjustSettings, ConfigError> {
        let default = AdjustSettings::default();
        let (idle, delay) = (Period(default.idle_step), Period(default.delay_step));
        Ok(AdjustSettings {
            idle_levels: small(source, "idle_levels", &self.idle_levels, default.idle_levels, MAX_PRIORITY)?,
            idle_step: within(source, "idle_step", self.idle_step.clone(), idle, TIMES)?.0,
            delay_levels: small(
                source,
                "delay_levels",
                &self.delay_levels,
                default.delay_levels,
                MAX_PRIORITY,
            )?,
            delay_step: within(source, "delay_step", self.delay_step.clone(), delay, TIMES)?.0,
        })
    }

    fn sources(&self, source: Source<'_>) -> Result<SourceLimits, ConfigError> {
        let default = SourceLimits::default();
        let (rate, open) = (self.connections_per_second.clone(), self.open_connections.clone());
        Ok(SourceLimits {
            connections_per_second: within(source, "connections_per_second", rate, 0, RATES)? as u32,
            open_connections: within(source, "open_connections", open, 0, 0..=*CONNECTIONS.end())? as u32,
            prefix_ipv4: small(
                source,
                "source_prefix_ipv4",
                &self.source_prefix_ipv4,
                default.prefix_ipv4,
                32,
            )?,
            prefix_ipv6: small(
                source,
                "source_prefix_ipv6",
                &self.source_prefix_ipv6,
                default.prefix_ipv6,
                128,
            )?,
            way: self.source_refusal.map_or(default.way, Way::from),
        })
    }
}

/// A number from 0 to `most`.
fn small(
    source: Source<'_>,
    key: &str,
    value: &Option<Spanned<i64>>,
    default: u8,
    most: u8,
) -> Result<u8, ConfigError> {
    within(source, key, value.clone(), default.into(), 0..=most.into()).map(|value| value as u8)
}

/// Reads a number, or a string that `parse` understands.
fn number_or<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    number: impl FnOnce(i64) -> T,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Visitor<N, P>(&'static str, N, P);
    impl<T, N: FnOnce(i64) -> T, P: FnOnce(&str) -> Option<T>> de::Visitor<'_> for Visitor<N, P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
            Ok((self.1)(value))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.2)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self.0))
        }
    }
    deserializer.deserialize_any(Visitor(expected, number, parse))
}

impl<'de> Deserialize<'de> for LimitWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a number of connections, \"paper\" or \"none\"";
        number_or(deserializer, expected, Self::Fixed, |text| match text {
            "none" => Some(Self::None),
            "paper" => Some(Self::Paper),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for PercentWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or(
            deserializer,
            "a percentage or \"none\"",
            |percent| Self(Some(percent)),
            |text| (text == "none").then_some(Self(None)),
        )
    }
}

impl<'de> Deserialize<'de> for LoadWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a multiple of the mean service time, a duration or \"none\", like \"96x\", \"600ms\"";
        super::quantity::text(deserializer, expected, |text| match text {
            "none" => Some(Self(None)),
            _ => Threshold::parse(text).map(|threshold| Self(Some(threshold.0))),
        })
    }
}

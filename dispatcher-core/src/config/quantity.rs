//! Durations, sizes and T_load as people write them: `100ms`, `64MiB`, `48x`. Owns units and their words, and the
//! check that a number is in its range.

use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::error::{ConfigError, Source};
use crate::policy::LoadThreshold;

/// Units of time in ns, longest first.
const TIMES: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// Units of size in bytes, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A whole number with a unit of time: `100ms`, `5s`, `15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Period(pub(super) Duration);

/// A number of bytes: `16384`, `64KiB`, `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// T_load: `48x` or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold(pub(super) LoadThreshold);

/// Splits `text` into a number and one of `units`, and multiplies.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The largest unit that divides `value`.
fn written(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = unit.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{name}", value / factor)
}

impl Period {
    fn parse(text: &str) -> Option<Self> {
        scaled(text, &TIMES).map(|ns| Self(Duration::from_nanos(ns)))
    }
}

impl Threshold {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let threshold = match text.strip_suffix('x') {
            Some(count) => LoadThreshold::Requests(count.parse().ok()?),
            None => LoadThreshold::Work(Period::parse(text)?.0),
        };
        Some(Self(threshold))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0.as_nanos() as u64, &TIMES))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0, &SIZES))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "a duration in quotes, like \"100ms\", \"5s\", \"15m\"", Self::parse)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(
            deserializer,
            "a multiple of the mean service time or a duration, like \"48x\", \"600ms\"",
            Self::parse,
        )
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size in quotes, like 16384, \"16KiB\", \"64MiB\"")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Size, E> {
                let bytes = u64::try_from(value);
                bytes.map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                let bytes = scaled(text, &SIZES);
                bytes.map(Size).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads a string that `parse` understands.
pub(super) fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Visitor<F>(&'static str, F);
    impl<T, F: FnOnce(&str) -> Option<T>> de::Visitor<'_> for Visitor<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self.0))
        }
    }
    deserializer.deserialize_str(Visitor(expected, parse))
}

/// The value, or `default` where the key is absent, if it lies in `range`.
pub(super) fn within<T: PartialOrd + Copy + fmt::Display>(
    source: Source<'_>,
    key: &str,
    value: Option<Spanned<T>>,
    default: T,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError> {
    let Some(value) = value else { return Ok(default) };
    if range.contains(value.get_ref()) {
        return Ok(*value.get_ref());
    }
    let (low, high) = (range.start(), range.end());
    Err(source.error(value.span(), format!("{key} is {}; use {low} to {high}", value.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_and_written_alike() {
        for text in ["100ms", "5s", "15m", "1h", "250us", "7ns"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
        for text in ["1B", "16KiB", "64MiB", "3GiB"] {
            assert_eq!(Size(scaled(text, &SIZES).unwrap()).to_string(), text);
        }
        assert_eq!(Period::parse("90 s").unwrap().to_string(), "90s");
        for bad in ["", "5", "s", "-1s", "1.5s", "5 sec", "99999999999h"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
    }
}

//! Errors of a configuration file and where in it they are. Owns the way from a byte range to a line.

use std::ops::Range;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// A mistake in a configuration file; shown as `file:line: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    /// The file as the caller named it.
    pub file: String,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// The text that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) file: &'a str,
}

impl Source<'_> {
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        ConfigError { file: self.file.to_owned(), line, message: message.into() }
    }

    /// An error of the file as a whole, such as a key that is missing.
    pub(super) fn whole(&self, message: impl Into<String>) -> ConfigError {
        self.error(0..0, message)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let message = advise(&error.message().lines().collect::<Vec<_>>().join(", "));
            let span = error.span().unwrap_or(0..0);
            match self.key_before(span.start) {
                Some(key) => self.error(span, format!("{key}: {message}")),
                None => self.error(span, message),
            }
        })
    }

    /// The key whose value begins there, if the line says so: the TOML reader knows only the value.
    fn key_before(&self, value: usize) -> Option<&str> {
        let (_, line) = self.text.get(..value)?.rsplit_once('\n').unwrap_or(("", self.text.get(..value)?));
        let key = line.trim().strip_suffix('=')?.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        (!key.is_empty() && key.chars().all(plain)).then_some(key)
    }
}

/// Puts the words of the TOML reader into an operator's, with what to do where it does not say.
fn advise(message: &str) -> String {
    let message = message.replace("expected i64", "expected a whole number").replace("a sequence", "a list");
    let advice = match message.as_str() {
        "invalid type: map, expected a list" => "; write [[…]] for a table that may be repeated",
        "wanted string or table" => "; put the value in quotes",
        text if text.starts_with("missing field") => "; add it",
        _ => "",
    };
    message + advice
}

//! Where the cluster secret comes from: the configuration itself or a file beside it. Owns the rule that it is exactly
//! one of the two; reading the file is the caller's.

use std::path::PathBuf;

use toml::Spanned;

use super::error::{ConfigError, Source};
use crate::secret::Secret;

/// Where the secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Given in the configuration.
    Here(Secret),
    /// In a file that the caller reads and passes to [`Secret::new`].
    File(PathBuf),
}

/// Takes the keys `secret` and `secret_file`.
pub(super) fn choose(
    source: Source<'_>,
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
) -> Result<SecretSource, ConfigError> {
    match (secret, secret_file) {
        (Some(_), Some(file)) => {
            Err(source.error(file.span(), "secret and secret_file are both given; remove one"))
        }
        (None, None) => Err(source.whole("secret_file is missing; add it (or secret)")),
        (None, Some(file)) => Ok(SecretSource::File(file.into_inner())),
        (Some(text), None) => match Secret::new(text.get_ref()) {
            Ok(secret) => Ok(SecretSource::Here(secret)),
            Err(error) => Err(source.error(text.span(), error.to_string())),
        },
    }
}

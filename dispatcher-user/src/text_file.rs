//! Text files that operators write: configurations, secrets, rules. What is in them is the business of whoever reads them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A file cannot be read. For the operator.
#[derive(Debug, Error)]
#[error("cannot read {}: {source}; check the path and its rights", .path.display())]
pub struct Unreadable {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The text of a file.
///
/// # Errors
/// When it cannot be opened or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Unreadable> {
    fs::read_to_string(path).map_err(|source| Unreadable { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        let text = read(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
        assert!(text.starts_with("cannot read /nowhere/x.toml: No such file"), "{text}");
        assert!(text.ends_with("; check the path and its rights"), "{text}");
    }
}

//! Data on stdout: rows as a table or as JSON, and lines. Owns what happens when nobody reads it any more, as behind `head`: the
//! command ends by SIGPIPE without a word, as Unix tools do.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process,
};

use nix::sys::signal::{SigHandler, Signal, raise, signal};
use serde_json::Value;
use thiserror::Error;

use super::table;

/// Data cannot be printed.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// For the person who asks.
    #[error("cannot write to stdout: {0}; the output is not whole")]
    Write(#[from] io::Error),
    /// A mistake of ours.
    #[error("cannot write the rows as JSON: {0}; leave out --json")]
    Json(#[from] serde_json::Error),
}

/// Prints rows as a table or as a JSON array.
pub(super) fn rows(rows: &[Value], as_json: bool) -> Result<(), OutputError> {
    if as_json { line(serde_json::to_string_pretty(rows)?) } else { line(table::render(rows)) }
}

/// Prints text and ends its line.
pub(super) fn line(text: impl fmt::Display) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => end_by_sigpipe(),
        result => Ok(result?),
    }
}

/// Only here, and not from the start: to a role, a peer that closes its socket is no reason to end.
fn end_by_sigpipe() -> ! {
    // SAFETY: the default action runs no code of this process.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = restored.and_then(|_| raise(Signal::SIGPIPE));
    // The signal is blocked: what a shell would say of it.
    process::exit(128 + Signal::SIGPIPE as i32)
}

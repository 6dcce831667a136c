//! How a role is told to stop.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Completes at the first SIGTERM or SIGINT from now on.
///
/// # Errors
/// When the signals cannot be caught.
pub fn signalled() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

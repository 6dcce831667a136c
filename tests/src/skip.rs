//! Whether tests that need a rig may run here. A skip is never silent.

use std::io::Write;

use nix::unistd::Uid;

/// Whether `test` has to be skipped; if so, the reason goes to standard error, past the harness's capture.
#[must_use]
pub fn skipped(test: &str) -> bool {
    let reason = if std::env::var_os("DISPATCHER_RIG").is_none() {
        "it makes network namespaces; run it by `cargo xtask test`, or set DISPATCHER_RIG=1"
    } else if !Uid::effective().is_root() {
        "the rig needs root; run it by `sudo -E`"
    } else {
        return false;
    };
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    true
}

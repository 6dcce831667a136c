//! Where the workspace is, and its cargo.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where set-up installs what builds need. Always below the workspace, where the build scripts look.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the release `dispatcher`, with cargo's own output, and gives its path.
pub(crate) fn build_dispatcher() -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--release", "--package", "dispatcher-user", "--bin", "dispatcher"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the dispatcher does not build: see above");
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir));
    Ok(target.join("release/dispatcher"))
}

/// Fails unless we are root, naming what for.
pub(crate) fn need_root(purpose: &str) -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "{purpose} needs root: run `sudo -E env \"PATH=$PATH\" cargo xtask …`"
    );
    Ok(())
}

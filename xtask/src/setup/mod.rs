//! `cargo xtask setup`: makes a fresh Debian 12 ready. Quick when nothing is missing, so the other commands call it.

mod linker;
mod packages;

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Installs what is missing and says what there is.
pub(crate) fn run() -> Result<()> {
    ensure()?;
    eprintln!("setup: ready; linker {}", linker::path().display());
    Ok(())
}

/// Installs what is missing; silent when nothing is.
pub(crate) fn ensure() -> Result<()> {
    if !is_debian() {
        return need_by_hand();
    }
    let tools = workspace::tools();
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    packages::ensure(&tools)?;
    linker::ensure(&tools)?;
    warn_of_missing_components();
    Ok(())
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| matches!(line.trim(), "ID=debian" | "ID=\"debian\""))
}

/// Elsewhere than on Debian we install nothing: all must be there, or the message says what is not.
fn need_by_hand() -> Result<()> {
    let programs = ["bpf-linker", "clang", "nginx", "haproxy", "curl", "wrk", "ip", "ethtool"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| !is_on_path(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this is not Debian, so nothing was installed; install by hand: {}\n\
         nginx and haproxy are expected in /usr/sbin. For the eBPF programs: `rustup toolchain install nightly \
         --component rust-src` and `cargo install bpf-linker`, of the same LLVM major version as that nightly",
        missing.join(", ")
    );
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into()])
        .any(|directory| directory.join(program).exists())
}

/// Formatter and lints lie beside cargo itself; builds and tests do not need them.
fn warn_of_missing_components() {
    let Some(cargo) = env::var_os("CARGO") else { return };
    let Some(directory) = Path::new(&cargo).parent() else { return };
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if !directory.join(program).exists() && !is_on_path(program) {
            eprintln!("setup: {component} is missing: run `rustup component add {component}`");
        }
    }
}

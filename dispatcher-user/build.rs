//! Builds the eBPF programs with a compiler that has a `core` for `bpfel-unknown-none`: Debian's `rustc-web`, or a rustup
//! nightly with `rust-src`. Ends with what to install where there is neither.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

const TARGET: &str = "bpfel-unknown-none";

/// Debian's compiler, from package rustc-web; its `core` for eBPF comes from libstd-rust-web-dev-bpf.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

const HOW_TO_INSTALL: &str = "on Debian run `cargo xtask setup`; elsewhere install a rustup nightly with rust-src \
    (`rustup toolchain install nightly --component rust-src`) and `cargo install bpf-linker`";

fn main() {
    if let Err(error) = build() {
        eprintln!("cannot build the eBPF programs: {error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let workspace = workspace()?;
    for watched in ["dispatcher-ebpf", "dispatcher-common", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    println!("cargo:rerun-if-env-changed=BPF_LINKER");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let target_dir = out.join("ebpf");
    let linker = linker(&workspace)?;
    let mut command = compiler()?.command()?;
    command
        .current_dir(&workspace)
        .args(["build", "-p", "dispatcher-ebpf", "--bins", "--release", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=--btf\u{1f}-Cdebuginfo=2");
    // What the outer cargo set up is for the host's compiler and would break the nested build.
    for outer in [
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
    ] {
        command.env_remove(outer);
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the nested cargo failed (linker {}); {HOW_TO_INSTALL}", linker.display());
    }
    for program in ["front", "back"] {
        let object = target_dir.join(TARGET).join("release").join(program);
        std::fs::copy(&object, out.join(format!("{program}.o")))
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }
    Ok(())
}

fn workspace() -> Result<PathBuf> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    Ok(manifest.parent().context("the crate lies in a workspace")?.to_path_buf())
}

/// `BPF_LINKER`, else the one that set-up installs, else the one on PATH.
fn linker(workspace: &Path) -> Result<PathBuf> {
    if let Some(linker) = env::var_os("BPF_LINKER") {
        return Ok(linker.into());
    }
    let ours = workspace.join("target/tools/bin/bpf-linker");
    if ours.exists() {
        return Ok(ours);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join("bpf-linker"))
        .find(|candidate| candidate.exists())
        .with_context(|| format!("bpf-linker is not installed; {HOW_TO_INSTALL}"))
}

/// A compiler that can build for eBPF.
enum Compiler {
    /// Ships a built `core` for the target.
    Debian,
    /// Builds `core` from its sources.
    Nightly,
}

impl Compiler {
    fn command(&self) -> Result<Command> {
        match self {
            Self::Debian => {
                let mut command = Command::new(env::var_os("CARGO").context("cargo sets CARGO")?);
                // `rustc-web` is a stable compiler; the eBPF target needs features that are unstable there.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                Ok(command)
            }
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
                command.env_remove("RUSTC").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
                Ok(command)
            }
        }
    }
}

fn compiler() -> Result<Compiler> {
    if sysroot(Command::new(DEBIAN_RUSTC)).is_some_and(|root| root.join("lib/rustlib").join(TARGET).exists())
    {
        return Ok(Compiler::Debian);
    }
    let mut nightly = Command::new("rustup");
    nightly.args(["run", "nightly", "rustc"]);
    match sysroot(nightly) {
        Some(root) if root.join("lib/rustlib/src/rust/library/core").exists() => Ok(Compiler::Nightly),
        Some(_) => bail!(
            "the nightly toolchain lacks rust-src; run `rustup component add rust-src --toolchain nightly`"
        ),
        None => bail!("no compiler for {TARGET} is installed; {HOW_TO_INSTALL}"),
    }
}

fn sysroot(mut rustc: Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

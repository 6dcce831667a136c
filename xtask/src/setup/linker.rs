//! bpf-linker, built against the LLVM that comes with Debian's rustc-web: linking dies with "Invalid record" when
//! the two differ. It goes below target/, so the user's own ~/.cargo/bin stays as it is.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

const VERSION: &str = "0.13.0";
const LLVM_MAJOR: &str = "22";

/// Where the linker is or will be.
pub(super) fn path() -> PathBuf {
    workspace::tools().join("bin/bpf-linker")
}

pub(super) fn ensure(tools: &Path) -> Result<()> {
    if runs() {
        return Ok(());
    }
    // bpf-linker looks for a libLLVM.so to link with; this spares the 500 MB of llvm-dev.
    let llvm = tools.join("llvm");
    let library = llvm.join("lib/libLLVM.so");
    fs::create_dir_all(llvm.join("lib"))?;
    let _ = fs::remove_file(&library);
    symlink(llvm_library()?, &library).with_context(|| format!("cannot link {}", library.display()))?;
    let feature = format!("llvm-{LLVM_MAJOR}");
    let mut install = workspace::cargo();
    install
        .args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--no-default-features",
            "--features",
        ])
        .arg(feature)
        .arg("--force")
        .arg("--root")
        .arg(tools)
        .arg("--target-dir")
        .arg(tools.join("build"))
        .env("LLVM_PREFIX", &llvm)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env_remove("RUSTFLAGS");
    step::run("build bpf-linker (about a minute)", &mut install, &tools.join("bpf-linker.log"))?;
    let _ = fs::remove_dir_all(tools.join("build"));
    if !runs() {
        bail!("{} was built but does not run: remove {} and try again", path().display(), tools.display());
    }
    Ok(())
}

fn runs() -> bool {
    let status = Command::new(path()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The LLVM library of rustc-web, in the directory of this machine's architecture.
fn llvm_library() -> Result<PathBuf> {
    let prefix = format!("libLLVM.so.{LLVM_MAJOR}");
    for directory in fs::read_dir("/usr/lib")?.flatten() {
        let Ok(entries) = fs::read_dir(directory.path()) else { continue };
        let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
        if let Some(found) = entries.flatten().find(name) {
            return Ok(found.path());
        }
    }
    bail!(
        "package rustc-web brought no {prefix}: its LLVM is another version than {LLVM_MAJOR}, which this tree knows"
    )
}

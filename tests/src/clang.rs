//! clang, for eBPF programs in C that the project's own are measured beside.

use std::{fs, io, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// Compiles a program; gives the object's bytes, or `None` after the reason of a skip was printed.
///
/// # Errors
/// When clang refuses it.
pub fn compile(source: &Path, object: &Path) -> Result<Option<Vec<u8>>> {
    let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let mut clang = Command::new("clang");
    clang.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", &include, "-c"]);
    match clang.arg(source).arg("-o").arg(object).status() {
        Err(error) => {
            skip(&error);
            Ok(None)
        }
        Ok(status) => {
            ensure!(status.success(), "{} does not compile: is libbpf-dev installed?", source.display());
            fs::read(object).map(Some).with_context(|| format!("cannot read {}", object.display()))
        }
    }
}

fn skip(error: &io::Error) {
    eprintln!("skipped: clang does not run ({error}); `cargo xtask setup` installs it");
}

//! Debian packages: the eBPF compiler, and what the rig runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{interrupt, step, workspace};

/// `rustc-web` is a current rustc with LLVM 22; the `-bpf` package has `core` built for eBPF. clang and libbpf-dev are for the
/// benchmarks' rewriter in C. `nghttp2-client` is for h2load, `apache2-utils` for ab.
const PACKAGES: [&str; 14] = [
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "clang",
    "libbpf-dev",
    "nginx-light",
    "curl",
    "wrk",
    "nghttp2-client",
    "apache2-utils",
    "chromium",
    "haproxy",
    "iproute2",
    "ethtool",
    "procps",
];

/// While it exists, package scripts start no daemons: nginx and HAProxy are for the rig, not for this machine's port 80.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str =
    "#!/bin/sh\n# Written by the dispatcher's set-up while it installs packages.\nexit 101\n";

pub(super) fn ensure(tools: &Path) -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    workspace::need_root(&format!("installing {names}"))?;
    step::run("update the package lists", apt().arg("update"), &tools.join("apt-update.log"))?;
    let _no_daemons = NoDaemons::begin()?;
    // `--no-remove`: rustc-web conflicts with Debian's old rustc, and removing it is the user's decision.
    let mut install = apt();
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&missing);
    step::run(&format!("install {names}"), &mut install, &tools.join("apt-install.log")).context(
        "apt-get refused; if it wanted to remove `rustc`, that one conflicts with rustc-web: remove it and try again",
    )
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command
}

fn missing() -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(PACKAGES)
        .output()
        .context("cannot run dpkg-query")?;
    let known = String::from_utf8_lossy(&output.stdout);
    let installed = |package: &str| known.lines().any(|line| line == format!("{package} installed"));
    Ok(PACKAGES.into_iter().filter(|package| !installed(package)).collect())
}

/// Keeps package scripts from starting daemons for as long as it lives; leaves a policy of the administrator's alone.
struct NoDaemons(Option<PathBuf>);

impl NoDaemons {
    fn begin() -> Result<Self> {
        let path = PathBuf::from(POLICY);
        let ours = fs::read_to_string(&path).is_ok_and(|text| text == POLICY_TEXT);
        if path.exists() && !ours {
            return Ok(Self(None));
        }
        // Ctrl-C ends apt-get, and through its failure us, but not before the policy is gone again.
        interrupt::catch()?;
        fs::write(&path, POLICY_TEXT).with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(Some(path)))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

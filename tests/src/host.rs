//! A host of the rig: one network namespace. Commands and closures enter it by `setns` alone, so /sys and
//! the bpffs under it stay visible (`ip netns exec` and `ip -n` mount a new /sys over them).

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    panic::resume_unwind,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::plan::Plan;

const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// A host: its name in the rig and its network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: String,
}

impl Host {
    pub(crate) fn new(plan: &Plan, name: &str) -> Self {
        Self { name: name.to_owned(), namespace: plan.namespace(name) }
    }

    /// A host of a rig that another process has started, for example the lab.
    ///
    /// # Errors
    /// If that rig is not up or has no such host.
    pub fn existing(instance: &str, name: &str) -> Result<Self> {
        let plan = Plan::new(instance, 1, false)?;
        let host = Self::new(&plan, name);
        if !crate::plan::is_namespace_of(instance, &host.namespace) || !host.path().exists() {
            bail!("host {name} is not up; see `ip netns list`, or start it with `cargo xtask rig up`");
        }
        Ok(host)
    }

    /// Name in the rig: `client`, `front`, `server1`…
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside this host, without the caller's HTTP proxy settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        let path = CString::new(self.path().into_os_string().into_encoded_bytes()).unwrap_or_default();
        // SAFETY: between fork and exec the closure makes only three system calls, with memory allocated before.
        unsafe { command.pre_exec(move || enter_by_path(&path)) };
        command
    }

    /// Runs a closure in a thread of its own inside this host; sockets it makes stay in the host for good.
    ///
    /// # Errors
    /// If the namespace cannot be entered. A panic of the closure goes on in the caller.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("cannot open host {}", self.name))?;
        let inside = || -> Result<T> {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter host {}: are you root?", self.name))?;
            Ok(closure())
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a command line (split at blanks) to its end and gives its standard output.
    ///
    /// # Errors
    /// If it cannot be started or exits with a failure; the message holds its standard error.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().ok_or_else(|| anyhow!("the command line is empty"))?;
        let output = self
            .command(program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {line:?} on {}: is it installed?", self.name))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{line:?} on {}: {}: {}", self.name, output.status, reason.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sets kernel settings of this host, as `("ipv4/tcp_syncookies", "0")` below /proc/sys/net.
    ///
    /// # Errors
    /// If a setting does not exist or refuses the value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                std::fs::write(format!("/proc/sys/net/{key}"), value)
                    .with_context(|| format!("cannot set net/{key} to {value} on {}", self.name))?;
            }
            Ok(())
        })?
    }

    /// The namespace's file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }
}

fn enter_by_path(path: &CString) -> io::Result<()> {
    // SAFETY: `path` is a C string that lives through the call.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was opened above and is closed only once; exec closes it on success.
    let entered = unsafe { libc::setns(fd, libc::CLONE_NEWNET) };
    let error = io::Error::last_os_error();
    // SAFETY: as above.
    unsafe { libc::close(fd) };
    if entered < 0 { Err(error) } else { Ok(()) }
}

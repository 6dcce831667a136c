//! Less CPU time for some processes, as on a weak or a busy host: a control group of their own with a quota, version 2 or 1.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

const ROOT: &str = "/sys/fs/cgroup";

/// Where version 1 has its controller of CPU time.
const VERSION_1: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];

/// A limit in force; dropping it ends it.
#[derive(Debug)]
pub(crate) struct CpuLimit {
    root: PathBuf,
    group: PathBuf,
}

impl CpuLimit {
    /// Gives `processes` together `quota` in each `period`.
    pub(crate) fn new(name: &str, processes: &[i32], quota: Duration, period: Duration) -> Result<Self> {
        let root = root()?;
        let limit = Self { group: root.join(name), root };
        fs::create_dir_all(&limit.group).with_context(|| format!("cannot make {}", limit.group.display()))?;
        let (quota, period) = (quota.as_micros(), period.as_micros());
        if is_version_2(&limit.root) {
            limit.write("cpu.max", &format!("{quota} {period}"))?;
        } else {
            limit.write("cpu.cfs_period_us", &period.to_string())?;
            limit.write("cpu.cfs_quota_us", &quota.to_string())?;
        }
        for process in processes {
            limit.write("cgroup.procs", &process.to_string())?;
        }
        Ok(limit)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.group.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

impl Drop for CpuLimit {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // One that has ended is out of it.
            let _ = fs::write(self.root.join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// Removes the groups of a rig that has ended.
pub(crate) fn remove(prefix: &str) {
    let Some(entries) = root().ok().and_then(|root| fs::read_dir(root).ok()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn root() -> Result<PathBuf> {
    if let Some(root) = VERSION_1.iter().map(Path::new).find(|root| root.join("cgroup.procs").exists()) {
        return Ok(root.to_owned());
    }
    let root = Path::new(ROOT);
    if !is_version_2(root) {
        bail!("no control groups for CPU time below {ROOT}: mount cgroup2 there");
    }
    fs::write(root.join("cgroup.subtree_control"), "+cpu")
        .context("cannot have CPU time in control groups")?;
    Ok(root.to_owned())
}

fn is_version_2(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

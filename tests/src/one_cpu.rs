//! A rig on one CPU: packets are then taken on the CPU that makes them, so a flood is as fast as the front-end takes it and no
//! faster, and nothing is lost on links.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::Rig;

/// Keeps the calling thread, the threads that it starts and all processes on a rig's hosts on the first CPU; dropping it lets them
/// go where they were allowed to before. It belongs to the thread that made it.
#[derive(Debug)]
pub struct OneCpu {
    threads: Vec<Pid>,
    before: CpuSet,
}

impl Rig {
    /// Moves everything to one CPU.
    ///
    /// # Errors
    /// If the processes of the rig cannot be found or moved.
    pub fn on_one_cpu(&self) -> Result<OneCpu> {
        let own = Pid::from_raw(0);
        let before = sched_getaffinity(own).context("cannot ask for the own CPUs")?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|cpu| before.is_set(*cpu).unwrap_or(false)).unwrap_or(0);
        one.set(first)?;
        let mut pinned = OneCpu { threads: vec![own], before };
        pinned.threads.extend(self.threads()?);
        pinned.move_to(&one);
        Ok(pinned)
    }

    /// All threads on the rig's hosts.
    fn threads(&self) -> Result<Vec<Pid>> {
        let mut namespaces = Vec::new();
        for name in self.plan().host_names() {
            let path = PathBuf::from("/run/netns").join(self.plan().namespace(&name));
            namespaces.push(fs::metadata(&path).with_context(|| format!("no {}", path.display()))?.ino());
        }
        let mut threads = Vec::new();
        for process in fs::read_dir("/proc")?.flatten() {
            let inside = fs::metadata(process.path().join("ns/net")).map(|namespace| namespace.ino());
            // Those that end meanwhile need no CPU.
            if inside.is_ok_and(|inside| namespaces.contains(&inside)) {
                threads.extend(tasks(&process.path().join("task")).unwrap_or_default());
            }
        }
        Ok(threads)
    }
}

fn tasks(directory: &std::path::Path) -> io::Result<Vec<Pid>> {
    let numbers = fs::read_dir(directory)?.flatten().map(|task| task.file_name());
    Ok(numbers.filter_map(|name| name.to_str()?.parse().ok()).map(Pid::from_raw).collect())
}

impl OneCpu {
    fn move_to(&self, cpus: &CpuSet) {
        for thread in &self.threads {
            // One that has ended is where it should be.
            let _ = sched_setaffinity(*thread, cpus);
        }
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        self.move_to(&self.before);
    }
}

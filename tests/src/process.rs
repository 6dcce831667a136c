//! Processes that a rig starts. Each leads a process group of its own and is recorded in the rig's run directory
//! with the namespace it runs in, so that a later process can end it after this one was killed. Only processes
//! that are still in that group and that namespace are ever signalled: a recycled number is not.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::host::Host;

/// A role detaches its programs and nginx ends its workers well within this time.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A running process of the rig; dropping it kills it and all that it started.
#[derive(Debug)]
pub struct Tracked {
    name: String,
    child: Child,
    record: PathBuf,
    group: Group,
    left: bool,
}

impl Tracked {
    pub(crate) fn spawn(run_dir: &Path, host: &Host, name: &str, mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({program}) on {}: is it there?", host.name()))?;
        let group =
            Group { leader: child.id(), namespace: fs::metadata(host.path())?.ino(), boot: boot_id() };
        let record = run_dir.join("processes").join(child.id().to_string());
        let tracked = Self { name: name.to_owned(), child, record, group, left: false };
        fs::write(&tracked.record, tracked.group.to_text())
            .with_context(|| format!("cannot write {}", tracked.record.display()))?;
        Ok(tracked)
    }

    /// Process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Exit status, if it has ended.
    ///
    /// # Errors
    /// If the kernel does not know the process, which cannot be.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the end at most `limit`.
    ///
    /// # Errors
    /// If it still runs then.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                return Err(anyhow!("{} still runs after {limit:?}", self.name));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the process alone, not to its children.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            return Err(anyhow!("{} has ended already: {status}", self.name));
        }
        let id = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks for an end by SIGTERM and kills what still runs after `limit`.
    ///
    /// # Errors
    /// If the status cannot be had.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        if let Ok(status) = self.wait(limit) {
            return Ok(status);
        }
        self.group.kill();
        Ok(self.child.wait()?)
    }

    /// Lets the process run on after this one has ended.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.group.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.record);
    }
}

/// Ends the recorded processes of a run directory that a process before us left: by SIGTERM, then by force.
pub(crate) fn end_recorded(run_dir: &Path) {
    let Ok(records) = fs::read_dir(run_dir.join("processes")) else { return };
    let group = |record: fs::DirEntry| {
        let leader = record.file_name().to_str()?.parse().ok()?;
        Group::from_text(leader, &fs::read_to_string(record.path()).ok()?)
    };
    let boot = boot_id();
    let groups: Vec<Group> = records.flatten().filter_map(group).filter(|group| group.boot == boot).collect();
    for group in &groups {
        group.signal_leader(Signal::SIGTERM);
    }
    let start = Instant::now();
    while start.elapsed() < END_LIMIT && groups.iter().any(|group| !group.members().is_empty()) {
        thread::sleep(Duration::from_millis(10));
    }
    for group in &groups {
        group.kill();
    }
}

/// A process group inside one network namespace of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    leader: u32,
    namespace: u64,
    boot: String,
}

impl Group {
    fn to_text(&self) -> String {
        format!("{} {}\n", self.namespace, self.boot)
    }

    fn from_text(leader: u32, text: &str) -> Option<Self> {
        let (namespace, boot) = text.trim().split_once(' ')?;
        Some(Self { leader, namespace: namespace.parse().ok()?, boot: boot.to_owned() })
    }

    fn signal_leader(&self, signal: Signal) {
        if let Some(leader) = i32::try_from(self.leader).ok().filter(|leader| self.has(*leader)) {
            let _ = kill(Pid::from_raw(leader), signal);
        }
    }

    fn kill(&self) {
        // A member may fork between look and kill; its child is found by the next look.
        for _ in 0..50 {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for member in members {
                let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn members(&self) -> Vec<i32> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.filter(|id| self.has(*id)).collect()
    }

    fn has(&self, id: i32) -> bool {
        let in_group = fs::read_to_string(format!("/proc/{id}/stat"))
            .ok()
            .and_then(|stat| process_group(&stat))
            .is_some_and(|(alive, group)| alive && group == self.leader);
        in_group && fs::metadata(format!("/proc/{id}/ns/net")).is_ok_and(|ns| ns.ino() == self.namespace)
    }
}

/// Whether the process of a /proc/…/stat line is alive, and its process group.
fn process_group(stat: &str) -> Option<(bool, u32)> {
    let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
    let state = after_name.next()?;
    let group = after_name.nth(1)?.parse().ok()?;
    Some((!matches!(state, "Z" | "X"), group))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(process_group("17 (odd) name) S 1 16 16 0"), Some((true, 16)));
        assert_eq!(process_group("17 (nginx) Z 1 16 16 0"), Some((false, 16)));
        assert_eq!(process_group(""), None);
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let group = Group { leader: 7, namespace: 4_026_531_840, boot: boot_id() };
        assert_eq!(Group::from_text(7, &group.to_text()), Some(group));
        assert_eq!(Group::from_text(7, "nonsense"), None);
    }
}

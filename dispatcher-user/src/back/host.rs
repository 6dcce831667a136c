//! What the agent reads of its host: CPU use, and how often accept queues overflowed. Parses two files of /proc.

use std::{fs, io};

use thiserror::Error;

const STAT: &str = "/proc/stat";

/// Of this thread's network namespace, which /proc/net would not be in every thread.
const NETSTAT: &str = "/proc/thread-self/net/netstat";

/// A file of /proc cannot be read.
#[derive(Debug, Error)]
pub enum HostError {
    #[error("cannot read {path}: {source}; is /proc mounted?")]
    Read { path: &'static str, source: io::Error },
    #[error("{path} has an unknown form; report this with the kernel's version")]
    Form { path: &'static str },
}

/// CPU time of all CPUs together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTime {
    busy: u64,
    total: u64,
}

/// The host's state, read again and again.
#[derive(Debug)]
pub(super) struct Host {
    before: CpuTime,
    cpu_permille: u16,
}

impl Host {
    /// Begins to measure.
    pub(super) fn new() -> Result<Self, HostError> {
        listen_overflows()?;
        Ok(Self { before: cpu_time()?, cpu_permille: 0 })
    }

    /// CPU use of the whole host since the last call that saw time pass, 0..=1000.
    pub(super) fn cpu_permille(&mut self) -> Result<u16, HostError> {
        let now = cpu_time()?;
        let total = now.total.saturating_sub(self.before.total);
        if total > 0 {
            let busy = now.busy.saturating_sub(self.before.busy).min(total);
            self.cpu_permille = (busy * 1000 / total) as u16;
            self.before = now;
        }
        Ok(self.cpu_permille)
    }
}

/// The kernel's `ListenOverflows` of this network namespace, cumulative.
pub(super) fn listen_overflows() -> Result<u64, HostError> {
    parse_listen_overflows(&read(NETSTAT)?).ok_or(HostError::Form { path: NETSTAT })
}

fn cpu_time() -> Result<CpuTime, HostError> {
    parse_cpu_time(&read(STAT)?).ok_or(HostError::Form { path: STAT })
}

fn read(path: &'static str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError::Read { path, source })
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
fn parse_cpu_time(text: &str) -> Option<CpuTime> {
    let mut words = text.lines().next()?.split_whitespace();
    (words.next()? == "cpu").then_some(())?;
    let ticks: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let total = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(CpuTime { busy: total - idle, total })
}

/// A line of names and a line of values, each beginning with `TcpExt:`.
fn parse_listen_overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_not_being_busy() {
        let text = "cpu  10 1 5 100 20 2 3 4 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(parse_cpu_time(text), Some(CpuTime { busy: 25, total: 145 }));
        assert_eq!(parse_cpu_time("intr 7"), None);
    }

    #[test]
    fn the_counter_is_found_by_its_name() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: X\nIpExt: 4\n";
        assert_eq!(parse_listen_overflows(text), Some(22));
        assert_eq!(parse_listen_overflows("TcpExt: A\nTcpExt: 1\n"), None);
    }

    #[test]
    fn this_host_can_be_read() {
        let mut host = Host::new().unwrap();
        assert!(host.cpu_permille().unwrap() <= 1000);
        listen_overflows().unwrap();
    }
}

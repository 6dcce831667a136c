//! CPU time of the whole machine, whoever takes it: processes, kernel, interrupts.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Measures from its making on.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    start: Instant,
    idle: Duration,
    cpus: u32,
}

impl CpuTime {
    /// Starts.
    ///
    /// # Errors
    /// If /proc/stat cannot be read.
    pub fn start() -> Result<Self> {
        let (idle, cpus) = idle()?;
        Ok(Self { start: Instant::now(), idle, cpus })
    }

    /// What all CPUs together have not idled away since the start. The kernel measures idleness by the clock, to 10 ms for each CPU;
    /// what was busy it only samples.
    ///
    /// # Errors
    /// As `start`.
    pub fn spent(&self) -> Result<Duration> {
        let (idle, _) = idle()?;
        Ok((self.start.elapsed() * self.cpus).saturating_sub(idle.saturating_sub(self.idle)))
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Time that all CPUs were idle, waited for a disk, or were lent to another virtual machine; and their number.
fn idle() -> Result<(Duration, u32)> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    // SAFETY: no memory is involved.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    parse(&stat, per_second)
}

fn parse(stat: &str, ticks_per_second: f64) -> Result<(Duration, u32)> {
    // After the name: user, nice, system, idle, iowait, irq, softirq, steal.
    const IDLE: [usize; 3] = [3, 4, 7];
    let total = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = total.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let ticks: u64 = IDLE.iter().filter_map(|&index| fields.get(index)).sum();
    let cpus = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
    Ok((Duration::from_secs_f64(ticks as f64 / ticks_per_second), u32::try_from(cpus)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_read_of_all_cpus_together() {
        let stat = "cpu  100 1 100 400 50 0 7 50 0 0\ncpu0 50 0 50 200 25 0 3 25 0 0\ncpu1 50 1 50 200 25 0 4 25 0 0\nintr 1\n";
        assert_eq!(parse(stat, 100.0).unwrap(), (Duration::from_secs(5), 2));
    }
}

//! `dispatcher show admission` and `show priorities`: who gets in, and what became of everyone, by service and priority.

use aya::maps::MapError;
use dispatcher_common::{
    admission::{PriorityStats, way},
    limits::PRIORITIES,
};
use serde::Serialize;

use super::Status;
use crate::{control_socket::Reply, front::admission::causes};

#[derive(Debug, Serialize)]
struct AdmissionRow<'a> {
    service: &'a str,
    /// Whether there is admission at all.
    enabled: bool,
    overloaded: bool,
    /// Why.
    causes: String,
    /// The load is too much for priorities below this one.
    closed_below: u8,
    /// How often load or a server's signal has become too much.
    overloads: u64,
    open: i64,
    /// Most open flows; none without a limit.
    limit: Option<u64>,
    /// Lowest priority of an open flow: while overloaded only higher ones get in.
    lowest_open: Option<u8>,
    /// Requests on kept connections below this priority are refused.
    gate: u8,
    rules: usize,
}

#[derive(Debug, Serialize)]
struct PriorityRow<'a> {
    service: &'a str,
    priority: u8,
    open: i64,
    admitted: u64,
    /// SYNs.
    refused_syn: u64,
    /// First requests, in the kernel and in the slow path.
    refused_requests: u64,
    /// Requests on kept connections, retries included.
    refused_kept: u64,
    /// SYNs and requests of sources above their limits.
    limited: u64,
    evicted: u64,
    /// Requests whose response began: the goodput.
    answered: u64,
    /// Mean time from request to response.
    wait_ms: Option<f64>,
    refusal: &'static str,
}

impl Status {
    pub(super) fn admission_rows(&self) -> Reply {
        let services = self.model.services().iter().enumerate();
        Reply::of(services.map(|(owner, service)| {
            let admission = self.model.admission();
            let pressure = self.model.observe(owner);
            let entry = admission.entry(owner);
            let enabled = admission.settings(owner).is_some();
            AdmissionRow {
                service: &service.config.name,
                enabled,
                overloaded: enabled && entry.is_overloaded(),
                causes: if enabled { causes(pressure.with_connections(&entry)) } else { String::new() },
                closed_below: entry.closed_below,
                overloads: admission.overloads(owner),
                open: entry.total().cast_signed(),
                limit: (entry.limit != u64::MAX).then_some(entry.limit),
                lowest_open: Some(entry.lowest()).filter(|lowest| usize::from(*lowest) < PRIORITIES),
                gate: admission.gate(owner),
                rules: self.model.members().current(owner).rules().len(),
            }
        }))
    }

    pub(super) fn priority_rows(&self) -> Reply {
        let mut rows = Vec::new();
        for (owner, service) in self.model.services().iter().enumerate() {
            for priority in 0..PRIORITIES as u8 {
                match self.stats(owner, priority) {
                    Ok(stats) => rows.push(self.priority_row(&service.config.name, owner, priority, stats)),
                    Err(error) => {
                        return Reply::refuse(format_args!("the counts by priority cannot be read: {error}"));
                    }
                }
            }
        }
        Reply::of(rows)
    }

    fn priority_row<'a>(
        &self,
        service: &'a str,
        owner: usize,
        priority: u8,
        stats: PriorityStats,
    ) -> PriorityRow<'a> {
        let entry = self.model.admission().entry(owner);
        let tally = self.model.admission().tallies(owner).of(priority);
        let (answered, wait_ns) = tally.answered();
        let (answered, wait_ns) = (stats.answered + answered, stats.wait_ns + wait_ns);
        PriorityRow {
            service,
            priority,
            open: entry.open[usize::from(priority)].cast_signed(),
            admitted: tally.admitted(),
            refused_syn: stats.refused_syn,
            refused_requests: stats.refused_first + tally.refused_first(),
            refused_kept: stats.refused_kept,
            limited: stats.limited,
            evicted: tally.evicted(),
            answered,
            wait_ms: (answered > 0).then(|| wait_ns as f64 / answered as f64 / 1e6),
            refusal: way::name(entry.way(priority)),
        }
    }

    /// The kernel's counts, of all CPUs.
    fn stats(&self, owner: usize, priority: u8) -> Result<PriorityStats, MapError> {
        let index = owner * PRIORITIES + usize::from(priority);
        let values = self.priority_stats.get(&(index as u32), 0)?;
        Ok(values.iter().fold(PriorityStats::default(), |sum, one| PriorityStats {
            refused_syn: sum.refused_syn + one.refused_syn,
            refused_first: sum.refused_first + one.refused_first,
            refused_kept: sum.refused_kept + one.refused_kept,
            limited: sum.limited + one.limited,
            answered: sum.answered + one.answered,
            wait_ns: sum.wait_ns + one.wait_ns,
        }))
    }
}

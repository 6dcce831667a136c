//! Whether a report is new: no replay, no old boot, no strange clock. Owns what is remembered of a server's
//! earlier reports for that; the tag was checked before.

use std::collections::VecDeque;

use thiserror::Error;

use crate::report::Report;

/// Furthest that the wall clocks of server and front-end may be apart, in ms.
pub const MAX_CLOCK_DIFFERENCE_MS: u64 = 120_000;

/// Boots remembered so that their reports cannot be replayed; more than can follow one another while a report's
/// time is still good.
const REMEMBERED_BOOTS: usize = 8;

/// A genuine report that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportRefused {
    /// No server of that name is configured.
    #[error("report of unknown server {0:?}; give the server and the agent the same name")]
    UnknownServer(String),
    /// The sequence number is not above the last one.
    #[error("report {sequence} of {server} is not newer than {last}; it was replayed or overtaken")]
    OldSequence { server: String, sequence: u64, last: u64 },
    /// It belongs to a boot that another has followed.
    #[error("report of {server} is from an earlier boot; it was replayed or overtaken")]
    OldBoot { server: String },
    /// The wall clocks are too far apart, or the report was kept back.
    #[error("report of {server} is {difference_ms} ms off our clock; synchronise the clocks")]
    ClockDifference { server: String, difference_ms: u64 },
}

impl ReportRefused {
    /// Whether the report is out of sequence or of another time, as opposed to of an unknown server.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !matches!(self, Self::UnknownServer(_))
    }
}

/// What a fresh report means for those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Succession {
    /// The first one that we have of this server.
    First,
    /// The same boot as the last one, which had accepted so many tickets.
    SameBoot { accepted_before: u64 },
    /// The host has booted.
    NewBoot,
}

/// What is remembered of one server's reports.
#[derive(Debug, Clone, Default)]
pub(super) struct Freshness {
    boot: Option<u64>,
    last: Option<(u64, u64)>,
    earlier_boots: VecDeque<u64>,
}

impl Freshness {
    pub(super) fn boot(&self) -> Option<u64> {
        self.boot
    }

    /// Notes the boot of a server as known from before the front-end's own start.
    pub(super) fn assume_boot(&mut self, boot: u64) {
        self.boot.get_or_insert(boot);
    }

    /// Judges `report` and, if it is fresh, remembers it.
    pub(super) fn admit(&mut self, report: &Report, now_wall_ms: u64) -> Result<Succession, ReportRefused> {
        let server = || report.server.clone();
        let difference_ms = report.sent_at_ms.abs_diff(now_wall_ms);
        if difference_ms > MAX_CLOCK_DIFFERENCE_MS {
            return Err(ReportRefused::ClockDifference { server: server(), difference_ms });
        }
        if self.earlier_boots.contains(&report.boot_id) {
            return Err(ReportRefused::OldBoot { server: server() });
        }
        let same_boot = self.boot == Some(report.boot_id);
        let succession = match (self.boot, self.last) {
            (Some(_), Some((last, _))) if same_boot && report.sequence <= last => {
                return Err(ReportRefused::OldSequence { server: server(), sequence: report.sequence, last });
            }
            (Some(_), Some((_, accepted_before))) if same_boot => Succession::SameBoot { accepted_before },
            (Some(boot), _) if !same_boot => {
                self.earlier_boots.push_back(boot);
                Succession::NewBoot
            }
            _ => Succession::First,
        };
        if self.earlier_boots.len() > REMEMBERED_BOOTS {
            self.earlier_boots.pop_front();
        }
        self.boot = Some(report.boot_id);
        self.last = Some((report.sequence, report.accepted));
        Ok(succession)
    }
}

//! Admission of newcomers: who is turned away, and how, at a SYN and at a first request. `kept` judges later requests, `member`
//! knows the rules, `source` the limits of sources; the control plane has the last word on whoever passes here.

use dispatcher_common::{
    admission::{AdmissionEntry, PriorityStats, Ruling, way},
    counter::FrontCounter,
    service::flag,
};

use super::{maps, member, reply, segment::Segment, source, verdict::Verdict};

/// Turns a SYN away, or not. Addresses of SYNs are not proved, so nothing is counted for its source.
#[inline(always)]
pub(super) fn refuse_syn(segment: &Segment<'_>) -> Option<Verdict> {
    if segment.service.flags & (flag::ADMISSION | flag::SOURCE_LIMITS) == 0 {
        return None;
    }
    let newcomer = judge(segment);
    let decision = newcomer.decision(FrontCounter::SynRefusedReset, FrontCounter::SynRefusedDropped);
    if let Decision::Reset(_) | Decision::Drop(_) = decision {
        count(segment, newcomer, |stats| &mut stats.refused_syn);
    }
    match decision {
        Decision::Admit => None,
        Decision::Reset(counter) => Some(reply::reset_syn(segment, counter)),
        Decision::Drop(counter) => Some(Verdict::drop(counter)),
    }
}

/// Turns a first request away, or gives a priority to begin with. A response with status 503 is the control
/// plane's to make.
#[inline(always)]
pub(super) fn admit_first(segment: &Segment<'_>) -> Result<u8, Verdict> {
    if segment.service.flags == 0 {
        return Ok(segment.service.priority);
    }
    let newcomer = judge(segment);
    let decision = newcomer.decision(FrontCounter::RequestRefusedReset, FrontCounter::RequestRefusedDropped);
    if let Decision::Reset(_) | Decision::Drop(_) = decision {
        count(segment, newcomer, |stats| &mut stats.refused_first);
    }
    match decision {
        Decision::Admit => Ok(newcomer.priority()),
        Decision::Reset(counter) => Err(reply::reset(segment, counter)),
        Decision::Drop(counter) => Err(Verdict::drop(counter)),
    }
}

/// The priority of a newcomer that [`admit_first`] has let in, if nobody has to give way to it. Final where cookies make no
/// difference.
#[inline(always)]
pub(super) fn final_priority(segment: &Segment<'_>) -> Option<u8> {
    let service = segment.service;
    let priority = member::ceiling(segment);
    if service.flags & flag::ADMISSION == 0 {
        return Some(priority);
    }
    let ruling = maps::admission(service.owner)?.judge(priority);
    if ruling == Ruling::Admit { Some(priority) } else { None }
}

/// What becomes of a newcomer.
#[derive(Clone, Copy)]
enum Decision {
    Admit,
    Reset(FrontCounter),
    Drop(FrontCounter),
}

/// A judgement in one register: the priority that the source allows, one of [`judged`], one of [`way`], eight bits each.
#[derive(Clone, Copy)]
struct Newcomer(u64);

mod judged {
    pub(super) const ADMITTED: u8 = 0;
    /// The service is overloaded and nobody of lower priority is there.
    pub(super) const REFUSED: u8 = 1;
    /// The source has reached a limit.
    pub(super) const LIMITED: u8 = 2;
}

impl Newcomer {
    #[inline(always)]
    const fn new(priority: u8, judged: u8, way: u8) -> Self {
        Self(priority as u64 | (judged as u64) << 8 | (way as u64) << 16)
    }

    #[inline(always)]
    const fn priority(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    const fn judged(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// What to do, given the counters of a refusal. There is no response for sources above their limits.
    #[inline(always)]
    const fn decision(self, reset: FrontCounter, dropped: FrontCounter) -> Decision {
        match (self.judged(), (self.0 >> 16) as u8) {
            (judged::ADMITTED, _) | (judged::REFUSED, way::RESPOND) => Decision::Admit,
            (judged::REFUSED, way::DROP) => Decision::Drop(dropped),
            (judged::REFUSED, _) => Decision::Reset(reset),
            (_, way::DROP) => Decision::Drop(FrontCounter::SourceLimitedDropped),
            _ => Decision::Reset(FrontCounter::SourceLimitedReset),
        }
    }
}

/// Judges a newcomer by its source: Fig. 3 of the paper, after the limits of the source. Whose priority makes no difference,
/// because there is room or all refusals are responses, is not looked up.
#[inline(never)]
fn judge(segment: &Segment<'_>) -> Newcomer {
    let service = segment.service;
    let admitted = Newcomer::new(service.priority, judged::ADMITTED, 0);
    let Some(entry) = maps::admission(service.owner) else { return admitted };
    let limited = service.flags & flag::SOURCE_LIMITS != 0 && source::is_limited(segment, entry);
    if !limited && !depends_on_priority(service.flags, entry) {
        return admitted;
    }
    let priority = member::ceiling(segment);
    if limited {
        return Newcomer::new(priority, judged::LIMITED, entry.source_way);
    }
    match entry.judge(priority) {
        Ruling::Refuse => Newcomer::new(priority, judged::REFUSED, entry.way(priority)),
        _ => Newcomer::new(priority, judged::ADMITTED, 0),
    }
}

/// Whether someone would be refused here.
#[inline(always)]
fn depends_on_priority(flags: u8, entry: &AdmissionEntry) -> bool {
    flags & flag::ADMISSION != 0 && !entry.only_responds() && entry.is_overloaded()
}

#[inline(always)]
fn count(segment: &Segment<'_>, newcomer: Newcomer, refused: impl FnOnce(&mut PriorityStats) -> &mut u64) {
    if let Some(stats) = maps::priority_stats(segment.service.owner, newcomer.priority()) {
        if newcomer.judged() == judged::LIMITED {
            stats.limited += 1;
        } else {
            *refused(stats) += 1;
        }
    }
}

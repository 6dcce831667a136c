//! Writing filters of flows that have a server, with what the kernel's program has noted in them meanwhile: each is read again, and
//! only what the slow path has changed is put into it. Look-up and update are next to each other, and before the frame is sent: a
//! server may send a request back, and a client its next one, sooner than the call that sends returns. What the program notes between
//! the two is undone, so only filters are written in which it has nothing to note that matters.

use dispatcher_common::{
    filter::{Filter, FlowKey},
    merge::{is_same_step, merge},
    per_request::may_write,
};

use super::engine::Filters;

/// A filter that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) key: FlowKey,
    pub(super) before: Filter,
    pub(super) after: Filter,
}

/// A filter could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// Writes a filter. `None` if it is not the same connection's any more, or somebody else has dealt with it, or may at any moment;
/// `is_last` as for [`may_write`].
pub(super) fn write(
    filters: &dyn Filters,
    key: FlowKey,
    before: &Filter,
    after: &Filter,
    is_last: bool,
) -> Result<Option<Settled>, Failed> {
    let latest = filters.lookup(&key).map_err(|_| Failed)?;
    let is_ours = |latest: &Filter| is_same_step(before, latest) && may_write(latest, is_last);
    let Some(latest) = latest.filter(is_ours) else { return Ok(None) };
    let merged = merge(before, after, &latest);
    if filters.update_batch(&[key], &[merged]) > 0 {
        return Err(Failed);
    }
    Ok(Some(Settled { key, before: latest, after: merged }))
}

//! The count of open flows. The control plane counts a flow up when it gives it to a server; whoever takes its filter out of
//! established, the program here or the control plane, counts it down.

use super::{maps, segment::Segment, source};

/// An established flow of the segment's service ends.
#[inline(never)]
pub(super) fn count_closed(segment: &Segment<'_>, priority: u8) {
    maps::count_closed(segment.service.owner, priority);
    source::count_closed(segment);
}

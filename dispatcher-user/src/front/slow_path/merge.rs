//! Writing filters of flows that have a server, with what the kernel's program has noted in them meanwhile: each is read again, and
//! only what the slow path has changed is put into it. Look-up and update are next to each other, and before the frame is sent: a
//! server may send a request back, and a client its next one, sooner than the call that sends returns.

use dispatcher_common::{
    filter::{Filter, FlowKey, flag, state},
    per_request::{is_after, is_settled},
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

/// Writes a filter. `None` if it is not the same connection's any more, or somebody else has dealt with it, or may at any moment.
pub(super) fn write(
    filters: &dyn Filters,
    key: FlowKey,
    before: &Filter,
    after: &Filter,
) -> Result<Option<Settled>, Failed> {
    let latest = filters.lookup(&key).map_err(|_| Failed)?;
    let Some(latest) = latest.filter(|latest| is_same_step(before, latest) && !may_leave(latest)) else {
        return Ok(None);
    };
    let merged = merge(before, after, &latest);
    if filters.update_batch(&[key], &[merged]) > 0 {
        return Err(Failed);
    }
    Ok(Some(Settled { key, before: latest, after: merged }))
}

/// Whether the program may take a release for the flow between look-up and update, which the update would undo for good: the
/// request is with its new server then, and nobody repeats it. What is not written, a request behind it, makes the flow opaque at
/// worst. While the slow path has a request, the program knows, and has the request that is released repeated.
fn may_leave(latest: &Filter) -> bool {
    latest.flags & (flag::MOVING | flag::ASKED) == flag::MOVING && !is_settled(latest)
}

/// Whether a filter is of the same connection, and nobody has dealt with the request that it waits for.
fn is_same_step(before: &Filter, latest: &Filter) -> bool {
    let step = |filter: &Filter| {
        let followed = filter.flags & (flag::FOLLOWED | flag::ASKED);
        (filter.created_ns, filter.boundary, followed, filter.opaque)
    };
    step(before) == step(latest) && matches!(latest.state, state::ESTABLISHED | state::CLOSING)
}

/// What has changed from `before` to `after`, put into `latest`.
fn merge(before: &Filter, after: &Filter, latest: &Filter) -> Filter {
    let bits = before.flags ^ after.flags;
    Filter {
        last_seen_ns: after.last_seen_ns.max(latest.last_seen_ns),
        packets: latest.packets.wrapping_add(after.packets.wrapping_sub(before.packets)),
        bytes: latest.bytes.wrapping_add(after.bytes.wrapping_sub(before.bytes)),
        response_ns: pick(before.response_ns, after.response_ns, latest.response_ns),
        state: latest.state.max(after.state),
        priority: pick(before.priority, after.priority, latest.priority),
        flags: latest.flags & !bits | after.flags & bits,
        class: pick(before.class, after.class, latest.class),
        last_ack: later(after.last_ack, latest.last_ack),
        request_ack: pick(before.request_ack, after.request_ack, latest.request_ack),
        next_seq: later(after.next_seq, latest.next_seq),
        handoff_seq: pick(before.handoff_seq, after.handoff_seq, latest.handoff_seq),
        handoff_ack: pick(before.handoff_ack, after.handoff_ack, latest.handoff_ack),
        request_ns: pick(before.request_ns, after.request_ns, latest.request_ns),
        requests: pick(before.requests, after.requests, latest.requests),
        move_to: pick(before.move_to, after.move_to, latest.move_to),
        boundary: after.boundary,
        kept_busy: pick(before.kept_busy, after.kept_busy, latest.kept_busy),
        opaque: after.opaque,
        number: pick(before.number, after.number, latest.number),
        // Server and moves, noted SYNs, and what a connection keeps.
        ..*latest
    }
}

fn pick<T: PartialEq>(before: T, after: T, latest: T) -> T {
    if before == after { latest } else { after }
}

fn later(number: u32, other: u32) -> u32 {
    if is_after(number, other) { number } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        Filter {
            created_ns: 5,
            packets: 10,
            last_ack: 100,
            next_seq: u32::MAX,
            boundary: 7,
            requests: 3,
            server: 1,
            state: state::ESTABLISHED,
            flags: flag::ASKED | flag::RESPONDED,
            ..Filter::default()
        }
    }

    #[test]
    fn what_the_program_has_noted_meanwhile_stays() {
        let before = filter();
        let after = Filter {
            boundary: 50,
            requests: 4,
            next_seq: 20,
            flags: flag::FOLLOWED | flag::FURTHER,
            ..before
        };
        let latest = Filter {
            packets: 13,
            last_ack: 170,
            noted_isn: 9,
            server: 2,
            moves: 1,
            state: state::CLOSING,
            flags: before.flags | flag::SYN_NOTED,
            ..before
        };
        let expected = Filter {
            boundary: 50,
            requests: 4,
            next_seq: 20,
            flags: flag::FOLLOWED | flag::FURTHER | flag::SYN_NOTED,
            ..latest
        };
        assert_eq!(merge(&before, &after, &latest), expected);
    }

    #[test]
    fn what_both_count_adds_up() {
        let before = filter();
        let after = Filter { packets: 12, bytes: 70, ..before };
        let latest = Filter { packets: 15, bytes: 100, ..before };
        let merged = merge(&before, &after, &latest);
        assert_eq!((merged.packets, merged.bytes), (17, 170));
    }

    #[test]
    fn nothing_is_written_while_a_release_may_come() {
        let moving = |flags| Filter { flags: flag::FURTHER | flag::MOVING | flags, ..filter() };
        assert!(may_leave(&moving(flag::FOLLOWED)) && may_leave(&moving(0)));
        assert!(!may_leave(&moving(flag::ASKED)), "the program drops what is released meanwhile");
        assert!(!may_leave(&moving(flag::FOLLOWED | flag::RESPONDED)), "its server has kept it");
        assert!(!may_leave(&Filter { flags: flag::FURTHER | flag::FOLLOWED, ..filter() }), "books");
    }

    #[test]
    fn a_filter_that_has_gone_on_is_another_step() {
        let before = filter();
        assert!(is_same_step(&before, &Filter { packets: 99, server: 4, ..before }));
        for latest in [
            Filter { created_ns: 6, ..before },
            Filter { boundary: 8, ..before },
            Filter { flags: flag::FOLLOWED, ..before },
            Filter { opaque: 1, flags: 0, ..before },
            Filter { state: state::ANSWERED, ..before },
        ] {
            assert!(!is_same_step(&before, &latest), "{latest:?}");
        }
    }
}

//! What the front-end's slow path writes of a filter that a server has: only what it has changed, put into what the kernel's program
//! has noted meanwhile. Whether it may write at all is `per_request`'s decision. Here, and not in the slow path, for the model that
//! tests both.

use crate::{
    filter::{Filter, flag, state},
    per_request::is_after,
};

/// Whether a filter is of the same connection, and nobody has dealt with the request that it waits for.
#[must_use]
pub fn is_same_step(before: &Filter, latest: &Filter) -> bool {
    let step = |filter: &Filter| {
        let followed = filter.flags & (flag::FOLLOWED | flag::ASKED);
        (filter.created_ns, filter.boundary, followed, filter.opaque)
    };
    step(before) == step(latest) && matches!(latest.state, state::ESTABLISHED | state::CLOSING)
}

/// What tells of the latest ticket.
const TICKET_FLAGS: u8 = flag::RESPONDED | flag::FURTHER | flag::MOVING;

/// What has changed from `before` to `after`, put into `latest`. A new ticket has no response, whatever the program has noted of the one
/// before it.
#[must_use]
pub fn merge(before: &Filter, after: &Filter, latest: &Filter) -> Filter {
    let is_new = before.handoff_seq != after.handoff_seq;
    let bits = before.flags ^ after.flags | if is_new { TICKET_FLAGS } else { 0 };
    let response_ns = pick(before.response_ns, after.response_ns, latest.response_ns);
    Filter {
        last_seen_ns: after.last_seen_ns.max(latest.last_seen_ns),
        packets: latest.packets.wrapping_add(after.packets.wrapping_sub(before.packets)),
        bytes: latest.bytes.wrapping_add(after.bytes.wrapping_sub(before.bytes)),
        response_ns: if is_new { after.response_ns } else { response_ns },
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
    fn a_response_to_the_request_before_is_none_to_the_next_one() {
        let before = Filter { flags: flag::ASKED, ..filter() };
        let after = Filter { flags: flag::FOLLOWED | flag::FURTHER | flag::MOVING, handoff_seq: 7, ..before };
        let latest = Filter { flags: flag::ASKED | flag::RESPONDED, response_ns: 6, ..before };
        let merged = merge(&before, &after, &latest);
        assert_eq!((merged.flags, merged.response_ns), (after.flags, 0));
        let along = merge(&before, &Filter { handoff_seq: before.handoff_seq, ..after }, &latest);
        assert_eq!((along.flags, along.response_ns), (after.flags | flag::RESPONDED, 6));
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

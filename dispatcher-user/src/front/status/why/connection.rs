//! The client's connection, if there is one: where it is, and what would become of the next request on it. Follows the order in
//! which the program and the slow path look at a further request.

use dispatcher_common::{
    filter::{Filter, flag, opaque, state},
    per_request,
};
use dispatcher_core::ids::Priority;

use super::Step;

/// What holds for the next request, beside the connection's filter.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The service's setting.
    pub(super) per_request: bool,
    /// Requests below this priority are refused.
    pub(super) gate: u8,
    /// How one of a priority is.
    pub(super) way: &'a dyn Fn(u8) -> &'static str,
    /// By the rules as they are now.
    pub(super) priority: Priority,
}

/// The steps of a connection; `name` knows the servers' names.
pub(super) fn steps<'a>(filter: &Filter, terms: &Terms<'_>, name: impl Fn(u16) -> &'a str) -> Vec<Step> {
    match filter.state {
        state::ESTABLISHED => {
            let at = name(filter.server);
            let (result, by) = next(filter, terms, at);
            vec![place(filter, &name), Step::new("next request", result, by)]
        }
        state::CLOSING => {
            vec![place(filter, &name), Step::new("next request", "none", "the client has closed")]
        }
        state::PENDING => vec![Step::new("connection", "pending", "its first request is with the slow path")],
        _ => vec![Step::new("connection", "answered", "the front-end answered it, no server knows it")],
    }
}

fn place<'a>(filter: &Filter, name: impl Fn(u16) -> &'a str) -> Step {
    let Filter { requests, moves, kept_busy, priority, .. } = filter;
    let mut by = format!(
        "{}, priority {priority}; {requests} requests, {moves} moves, {kept_busy} kept busy",
        state::name(filter.state)
    );
    if filter.flags & flag::MOVING != 0 && !per_request::is_settled(filter) {
        by = format!("{by}; asked to go to {}", name(filter.move_to));
    }
    Step::new("connection", format_args!("at {}", name(filter.server)), by)
}

/// What becomes of the next request, and why.
fn next(filter: &Filter, terms: &Terms<'_>, at: &str) -> (String, String) {
    let Terms { per_request, gate, way, priority } = *terms;
    let stays = |by: &str| (format!("stays at {at}"), by.to_owned());
    let refused = |priority| {
        (format!("refused ({})", way(priority)), format!("priority {priority} is below the gate, {gate}"))
    };
    let is_followed = filter.flags & (flag::FOLLOWED | flag::ASKED) != 0;
    let is_answered = if is_followed { per_request::is_settled(filter) } else { filter.response_ns != 0 };
    if filter.flags & flag::ASKED != 0 {
        return ("asked".to_owned(), "it has come, and the slow path decides".to_owned());
    }
    if is_followed && !is_answered {
        return stays("pipelined: the one before it has no response yet");
    }
    if is_answered && filter.priority < gate {
        return refused(filter.priority);
    }
    let is_other = priority.get() != filter.priority;
    match opaque::name(filter.opaque) {
        Some(reason) if !is_followed => return stays(&format!("opaque: {reason}")),
        None if !is_followed => return stays("not followed: per_request was false when it began"),
        _ if is_other && priority.get() < gate => return refused(priority.get()),
        _ if !per_request => return stays("per_request = false"),
        _ => {}
    }
    let mut by = "by class and load, as a first one; a busy server keeps it".to_owned();
    if is_other {
        by = format!("{by}; in the slow path, as rules give it priority {priority} now");
    }
    ("dispatched".to_owned(), by)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms<'static> = Terms {
        per_request: true,
        gate: 0,
        way: &|priority| if priority == 1 { "reset" } else { "503" },
        priority: Priority::new(0).unwrap(),
    };

    fn filter() -> Filter {
        Filter {
            state: state::ESTABLISHED,
            flags: flag::FOLLOWED | flag::RESPONDED,
            response_ns: 1,
            server: 1,
            move_to: 2,
            requests: 5,
            moves: 2,
            kept_busy: 1,
            ..Filter::default()
        }
    }

    fn told(filter: &Filter, terms: &Terms<'_>) -> Vec<[String; 3]> {
        let steps = steps(filter, terms, |server| ["a", "b", "c"][usize::from(server)]);
        steps.into_iter().map(|Step { step, result, by }| [step.to_owned(), result, by]).collect()
    }

    fn next_of(filter: &Filter, terms: &Terms<'_>) -> (String, String) {
        let [_, [step, result, by]] = told(filter, terms).try_into().unwrap();
        assert_eq!(step, "next request");
        (result, by)
    }

    #[test]
    fn it_is_told_where_a_connection_is_and_whereto_it_was_asked_to_go() {
        let place = |filter: &Filter| told(filter, &TERMS)[0].clone();
        let by = "established, priority 0; 5 requests, 2 moves, 1 kept busy";
        assert_eq!(place(&filter()), ["connection", "at b", by]);
        let moving = flag::FOLLOWED | flag::FURTHER | flag::MOVING;
        let asked = format!("{by}; asked to go to c");
        assert_eq!(place(&Filter { flags: moving, ..filter() })[2], asked);
        assert_eq!(place(&Filter { flags: moving | flag::RESPONDED, ..filter() })[2], by, "kept");
    }

    #[test]
    fn the_next_request_is_dispatched_where_it_may_be() {
        let (result, by) = next_of(&filter(), &TERMS);
        assert_eq!((result.as_str(), by.contains("slow path")), ("dispatched", false), "{by}");
        let (result, by) = next_of(&filter(), &Terms { priority: Priority::HIGHEST, ..TERMS });
        assert_eq!((result.as_str(), by.contains("priority 7 now")), ("dispatched", true), "{by}");
    }

    #[test]
    fn the_next_request_stays_for_a_reason() {
        let stays = |filter: &Filter, terms: &Terms<'_>, reason: &str| {
            let (result, by) = next_of(filter, terms);
            assert_eq!((result.as_str(), by.contains(reason)), ("stays at b", true), "{by}");
        };
        let unfollowed = Filter { flags: flag::RESPONDED, ..filter() };
        stays(&Filter { opaque: opaque::CHUNKED, ..unfollowed }, &TERMS, "chunked");
        stays(&unfollowed, &TERMS, "when it began");
        stays(&filter(), &Terms { per_request: false, ..TERMS }, "per_request = false");
        stays(&Filter { flags: flag::FOLLOWED, response_ns: 0, ..filter() }, &TERMS, "pipelined");
    }

    #[test]
    fn the_gate_refuses_what_it_can_see_to_be_a_request() {
        let gate = Terms { gate: 3, ..TERMS };
        let result = |filter: &Filter| next_of(filter, &gate).0;
        assert_eq!(result(&filter()), "refused (503)");
        assert_eq!(result(&Filter { priority: 1, ..filter() }), "refused (reset)");
        let high = Filter { priority: 3, ..filter() };
        assert_eq!(result(&high), "refused (503)", "by the rules as they are now");
        assert_eq!(next_of(&high, &Terms { priority: Priority::HIGHEST, ..gate }).0, "dispatched");
        assert_eq!(result(&Filter { flags: flag::RESPONDED, ..filter() }), "refused (503)");
        assert_eq!(result(&Filter { flags: 0, response_ns: 0, ..filter() }), "stays at b");
        assert_eq!(result(&Filter { flags: flag::FOLLOWED, response_ns: 0, ..filter() }), "stays at b");
        assert_eq!(result(&Filter { flags: flag::ASKED | flag::RESPONDED, ..filter() }), "asked");
    }

    #[test]
    fn a_connection_without_a_server_has_no_next_request_and_a_closed_one_none_either() {
        let result = |state| told(&Filter { state, ..filter() }, &TERMS).last().unwrap()[1].clone();
        assert_eq!(result(state::PENDING), "pending");
        assert_eq!(result(state::ANSWERED), "answered");
        assert_eq!(result(state::CLOSING), "none");
    }
}

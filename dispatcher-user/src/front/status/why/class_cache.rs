//! Whether the program finds the request in the class cache, and so dispatches it itself, a first one or a further one alike.

use std::io;

use dispatcher_core::{
    member::MemberTable,
    policy::{InKernel, Policy},
};

use super::Step;
use crate::front::slow_path::Lookup;

/// The step, by what was found, if there is a class cache, and by why it is not asked.
pub(super) fn step(lookup: Option<io::Result<Lookup>>, unasked: Option<String>) -> Step {
    let (result, by) = match (lookup, unasked) {
        (None, _) => ("not asked", "class_cache = 0".to_owned()),
        (_, Some(reason)) => ("not asked", reason),
        (Some(Ok(lookup)), None) => found(lookup),
        (Some(Err(error)), None) => ("not told", format!("the class cache cannot be read: {error}")),
    };
    Step::new("class cache", result, by)
}

/// Why the program looks for no request of a service.
pub(super) fn unasked(policy: &dyn Policy, table: &MemberTable) -> Option<String> {
    if let InKernel::No = policy.in_kernel() {
        return Some(format!("policy {} always decides in the slow path", policy.name()));
    }
    table.asks_for_cookies().then(|| "rules ask for cookies, which only the slow path reads".to_owned())
}

fn found(lookup: Lookup) -> (&'static str, String) {
    let (result, by) = match lookup {
        Lookup::Known => ("known", "dispatched in XDP, unless its head or the servers' load is unusual"),
        Lookup::Unknown => ("not known", "dispatched in the slow path, and known once it came twice"),
        Lookup::Unusual => ("unusual", "dispatched in the slow path: XDP does not read such a head"),
    };
    (result, by.to_owned())
}

#[cfg(test)]
mod tests {
    use dispatcher_core::{ids::ClassId, member::parse_rules};

    use super::*;
    use crate::front::model::tests::{config, model};

    fn told(lookup: Option<Lookup>, unasked: Option<&str>) -> (String, String) {
        let Step { result, by, .. } = step(lookup.map(Ok), unasked.map(str::to_owned));
        (result, by)
    }

    #[test]
    fn it_is_told_which_way_a_request_goes() {
        for (lookup, unasked, result, by) in [
            (None, None, "not asked", "class_cache = 0"),
            (Some(Lookup::Known), Some("rules"), "not asked", "rules"),
            (Some(Lookup::Known), None, "known", "in XDP"),
            (Some(Lookup::Unknown), None, "not known", "in the slow path"),
            (Some(Lookup::Unusual), None, "unusual", "in the slow path"),
        ] {
            let (told_result, told_by) = told(lookup, unasked);
            assert_eq!((told_result.as_str(), told_by.contains(by)), (result, true), "{told_by}");
        }
        let unreadable = step(Some(Err(io::ErrorKind::PermissionDenied.into())), None);
        assert_eq!(unreadable.result, "not told");
    }

    #[test]
    fn some_policies_and_rules_leave_all_to_the_slow_path() {
        let table = |rules: &str| {
            let rules = parse_rules(rules, "rules").unwrap();
            MemberTable::new(rules, config().services[0].priority, None).unwrap()
        };
        let plain = table("198.18.0.0/16 * - 5");
        let model = model();
        let state = model.lock();
        for policy in &state.policies {
            assert_eq!(unasked(policy.as_ref(), &plain), None);
            let reason = unasked(policy.as_ref(), &table("198.18.0.0/16 * plan=gold 5")).unwrap();
            assert!(reason.contains("cookies"), "{reason}");
        }
        let mut config = config();
        config.services[0].policy.name = "lard".to_owned();
        let policy = config.services[0].policy.build(ClassId(0), 4).unwrap();
        assert!(unasked(policy.as_ref(), &plain).unwrap().starts_with("policy lard always"));
    }
}

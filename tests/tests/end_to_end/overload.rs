//! Twice what the servers can do, from three levels of clients: the high level does not notice, the low one is refused. The
//! benchmark `overload` measures more and takes longer.

use std::{fs, time::Duration};

use dispatcher_common::limits::PRIORITIES;
use tests::{
    Family, FrontOptions, Rig,
    load::{self, Level, Load, Outcome, Record},
    skipped,
};

use crate::stage;

/// What a server needs for a request, one at a time.
const SERVICE: Duration = Duration::from_millis(10);

/// Twice what three of them can do.
const LOAD: Load = Load {
    rate: 600.0,
    requests_per_session: 1,
    warm_up: Duration::from_secs(1),
    duration: Duration::from_secs(5),
    patience: Duration::from_secs(2),
    seed: 4,
};

#[test]
fn at_twice_the_capacity_the_high_level_is_served_and_the_low_one_refused() {
    if skipped(&stage::test_name()) {
        return;
    }
    let rig = rig();
    let target = (rig.plan().address("vip", Family::V4), 80).into();
    let records = load::drive(rig.host("client").unwrap(), target, &LOAD).unwrap();
    let [high, medium, low] = Level::ALL.map(|level| served(&records, level));
    println!("served: high {high:.3}, medium {medium:.3}, low {low:.3}");
    assert!(high > 0.9 && low < 0.5 && low < medium, "{high} {medium} {low}");
    assert_eq!(load::inversions(&records, SERVICE, SERVICE).certain, 0);
    let refused = records.iter().filter(|record| record.outcome == Outcome::Refused).count();
    let shown = rig.show("front", "priorities").unwrap();
    assert_eq!(shown.len(), PRIORITIES);
    let counted: u64 = shown.iter().filter_map(|row| row["refused_requests"].as_u64()).sum();
    assert!(counted >= refused as u64, "{counted} of {refused}");
    let admission = &rig.show("front", "admission").unwrap()[0];
    assert!(admission["overloads"].as_u64() > Some(0), "{admission}");
}

fn rig() -> Rig {
    let mut rig = Rig::builder("overload").slowable(true).start().unwrap();
    load::attach(&rig).unwrap();
    for server in rig.plan().server_names() {
        rig.set_slow(&server, SERVICE).unwrap();
    }
    let members = rig.plan().run_dir().join("front/web.members");
    let rule = |level: Level| format!("{} * - {}\n", level.network(), level.priority());
    fs::write(&members, Level::ALL.map(rule).concat()).unwrap();
    let more = format!("members = \"{}\"\n[service.admission]\nload_bound = \"6x\"\n", members.display());
    let options = FrontOptions { load_threshold: "2x".to_owned(), more, ..FrontOptions::default() };
    rig.start_dispatcher(&options).unwrap();
    rig
}

/// What part of a level's requests was served.
fn served(records: &[Record], level: Level) -> f64 {
    let of_level = || records.iter().filter(|record| record.level == level);
    of_level().filter(|record| record.is_served()).count() as f64 / of_level().count() as f64
}

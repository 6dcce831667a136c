//! A table's row: what is played with a server, and the counters that it reaches.

use std::thread;

use dispatcher_common::counter::BackCounter as Counter;
use nix::sched::{CloneFlags, unshare};

use crate::lab::Lab;

/// One row. It is played for each family, each time in a namespace of its own.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The counters that move. `SegmentPassed` and `OtherPassed` may move in any scenario: every acknowledgement of the server
    /// and every neighbour solicitation is one.
    pub(crate) counters: &'static [Counter],
    pub(crate) play: fn(&mut Lab),
}

/// A client and a service of each family.
pub(crate) const ENDS: [(&str, &str); 2] =
    [("198.18.0.1:40000", "198.18.0.100:80"), ("[2001:db8::1]:40000", "[2001:db8::100]:80")];

/// Plays a table, or says why not.
pub(crate) fn run(test: &str, scenarios: &'static [Scenario]) {
    if tests::skipped(test) {
        return;
    }
    for scenario in scenarios {
        for ends in ENDS {
            eprintln!("{}: {}", ends.1, scenario.name);
            in_a_lab(ends, |lab| {
                (scenario.play)(lab);
                lab.assert_settled(scenario.counters);
            });
        }
    }
}

/// Does something with a server, for a client and a service.
pub(crate) fn in_a_lab(ends: (&'static str, &'static str), play: impl FnOnce(&mut Lab) + Send + 'static) {
    let (client, vip) = ends;
    let play = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        play(&mut Lab::start(client.parse().unwrap(), vip.parse().unwrap()));
    };
    // A thread of its own, with which the namespace goes.
    if let Err(cause) = thread::spawn(play).join() {
        std::panic::resume_unwind(cause);
    }
}

//! Every policy, by its name in the configuration, dispatches real traffic: all answers are right, and the servers that give them
//! are those that the policy's rule allows on an idle cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dispatcher_core::policy::NAMES;
use tests::{Family, FrontOptions, Rig};

use crate::{curl, stage, stage::FAMILIES};

const PATHS: usize = 12;
const TURNS: usize = 5;

/// What a rule lets one see from outside while nothing is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// A path stays on one server, and paths spread over servers.
    KeepsPaths,
    /// So it is for most paths: a server that is about to end a request may count as full.
    KeepsMostPaths,
    /// Every server gets the same number of requests.
    TakesTurns,
    /// Every server gets some.
    Spreads,
    /// Any server may get any number.
    Any,
}

fn habit(policy: &str) -> Habit {
    match policy {
        "context" | "lard" | "lard-r" | "hash" => Habit::KeepsPaths,
        "bounded-hash" => Habit::KeepsMostPaths,
        "round-robin" => Habit::TakesTurns,
        "weighted-round-robin" | "random" | "two-choices" => Habit::Spreads,
        // An idle cluster has an idle server always, and every probe says the same.
        "join-idle-queue" | "prequal" => Habit::Any,
        other => panic!("policy {other} has no expectation here"),
    }
}

#[test]
fn every_policy_dispatches_real_requests_by_its_rule() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    for policy in NAMES {
        let options = FrontOptions { policy: (*policy).to_owned(), ..stage::front_options() };
        dispatches(rig, policy, &options);
    }
}

#[test]
fn every_way_to_keep_the_bind_table_dispatches_real_requests() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    for table in ["sticky", "replicated", "weighted"] {
        let options = FrontOptions { table: table.to_owned(), ..stage::front_options() };
        dispatches(rig, "context", &options);
    }
    // It forgets a class that nobody holds, so on an idle cluster a path may go anywhere.
    rig.stop("front").unwrap();
    rig.start_front(&FrontOptions { table: "faithful".to_owned(), ..stage::front_options() }).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    answers(rig);
}

/// Neither `table` nor `load_threshold` is in the file: targets are hashed by weights, and hot ones are placed.
#[test]
fn the_default_table_keeps_targets_and_shows_weights() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    let options = stage::front_options().alter(|text| {
        let is_kept = |line: &&str| !line.starts_with("table = ") && !line.starts_with("load_threshold = ");
        *text = text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    });
    // At the end of a window weights move, and targets near a border with them.
    dispatches_with(rig, "context", &options, Habit::KeepsMostPaths);
    // Windows end after 96 and 288 requests, and 120 were made above, so it is hot when the second one ends.
    let hot = curl::url(rig, Family::V4, "/hot");
    let servers: BTreeSet<String> =
        curl::in_turn(rig, &vec![hot; 300]).into_iter().map(|reply| reply.server).collect();
    let rows: Vec<_> = rig.show("front", "bind-table").unwrap();
    let rows: Vec<_> = rows.iter().filter(|row| row["service"] == "web").collect();
    let weights: Vec<f64> = rows.iter().filter_map(|row| row["weight"].as_f64()).collect();
    assert!(weights.len() == 3 && weights.iter().all(|weight| (0.1..2.5).contains(weight)), "{rows:?}");
    let hottest = rows.iter().find(|row| row["target"].is_string()).expect("a hot target");
    assert!(servers.contains(hottest["server"].as_str().unwrap()), "{servers:?} {hottest:?}");
    let classes = || rows.iter().filter(|row| row["class"].is_u64());
    assert!(classes().all(|row| row["server"].is_null()));
    assert_eq!(classes().filter_map(|row| row["dispatched"].as_u64()).sum::<u64>(), 420, "{rows:?}");
}

fn dispatches(rig: &mut Rig, policy: &str, options: &FrontOptions) {
    dispatches_with(rig, policy, options, habit(policy));
}

fn dispatches_with(rig: &mut Rig, policy: &str, options: &FrontOptions, habit: Habit) {
    rig.stop("front").unwrap();
    rig.start_front(options).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let by_path = answers(rig);
    let mut by_server: BTreeMap<&str, usize> = BTreeMap::new();
    for servers in by_path.values() {
        servers.iter().for_each(|server| *by_server.entry(server).or_default() += 1);
    }
    eprintln!("{policy} {}: {by_server:?}", options.table);
    let kept = by_path.values().filter(|servers| servers.iter().all(|server| *server == servers[0])).count();
    match habit {
        Habit::KeepsPaths => {
            assert_eq!(kept, by_path.len(), "{policy}: {by_path:?}");
            assert!(by_server.len() > 1, "{policy}: all paths went to one server");
        }
        Habit::KeepsMostPaths => assert!(2 * kept > by_path.len(), "{policy}: {by_path:?}"),
        Habit::TakesTurns => {
            let counts: Vec<_> = by_server.values().collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "{policy}: {by_server:?}");
        }
        Habit::Spreads => assert_eq!(by_server.len(), 3, "{policy}: {by_server:?}"),
        Habit::Any => {}
    }
}

/// Asks for every path in turn over both families; gives the servers that answered, by family and path.
fn answers(rig: &Rig) -> BTreeMap<String, Vec<String>> {
    let mut by_path: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for family in FAMILIES {
        let paths: Vec<String> = (0..PATHS * TURNS).map(|i| format!("/policy/{}", i % PATHS)).collect();
        let urls: Vec<String> = paths.iter().map(|path| curl::url(rig, family, path)).collect();
        for (reply, path) in curl::in_turn(rig, &urls).into_iter().zip(paths) {
            curl::check_text(&reply, &path);
            // The host is another for each family, and part of what some policies hash.
            by_path.entry(format!("{family:?}{path}")).or_default().push(reply.server);
        }
    }
    by_path
}

//! First requests by the class cache: real clients ask for the same again and again, and the XDP program gives them to the server
//! that the slow path would have chosen.

use std::{collections::BTreeSet, time::Duration};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{Family, FrontOptions, Rig};

use crate::{
    curl,
    members::members,
    stage,
    stage::{FAMILIES, Web},
    watch::Watch,
};

const TURNS: usize = 40;

/// The first time a request is only noticed, the second time it is put into the cache.
const SLOW_ONES: u64 = 2;

/// Asks for a path some times, each on a connection of its own; gives the servers.
fn ask(rig: &Rig, family: Family, path: &str, turns: usize) -> Vec<String> {
    let urls = vec![curl::url(rig, family, path); turns];
    let replies = curl::in_turn(rig, &urls);
    assert!(replies.iter().all(|reply| reply.status == 200));
    replies.into_iter().map(|reply| reply.server).collect()
}

#[test]
fn a_url_that_is_asked_for_again_goes_to_its_server_at_once() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for (family, path) in FAMILIES.into_iter().zip(["/pages/quick-4", "/pages/quick-6"]) {
        let servers: BTreeSet<String> = ask(rig, family, path, TURNS).into_iter().collect();
        assert_eq!(servers.len(), 1, "{path} went to {servers:?}");
    }
    watch.until(rig, FrontCounter::RequestQuick, 2 * (TURNS as u64 - SLOW_ONES));
    assert_eq!(watch.moved(rig, FrontCounter::RequestFirst), 2 * SLOW_ONES);
    // curl sends a body's length.
    let mut command = rig.host("client").unwrap().command("curl");
    let url = curl::url(rig, Family::V4, "/pages/quick-4");
    assert!(command.args(["-sS", "-o", "/dev/null", "-d", "a=b", &url]).status().unwrap().success());
    watch.finish(rig);
}

#[test]
fn what_the_program_dispatches_counts_as_if_the_slow_path_had_done_it() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let dispatched = |rig: &Rig| -> u64 {
        rig.show("front", "bind-table").unwrap().iter().filter_map(|row| row["dispatched"].as_u64()).sum()
    };
    let before = dispatched(rig);
    ask(rig, Family::V4, "/pages/counted", TURNS);
    let all = |rows: &Vec<serde_json::Value>| {
        rows.iter().filter_map(|row| row["dispatched"].as_u64()).sum::<u64>() == before + TURNS as u64
    };
    rig.wait_for("front", "bind-table", Duration::from_secs(2), all).unwrap();
    let open = |rows: &Vec<serde_json::Value>| rows.iter().all(|row| row["state"] != "pending");
    rig.wait_for("front", "filters", Duration::from_secs(2), open).unwrap();
}

#[test]
fn without_a_class_cache_the_slow_path_dispatches_all() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    rig.stop("front").unwrap();
    let options = stage::front_options().alter(|text| text.insert_str(0, "class_cache = 0\n"));
    rig.start_front(&options).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let watch = Watch::start(rig);
    ask(rig, Family::V4, "/pages/slow", TURNS);
    watch.until(rig, ControlCounter::Dispatched, TURNS as u64);
    assert_eq!(watch.moved(rig, FrontCounter::RequestFirst), TURNS as u64);
    for counter in [FrontCounter::RequestQuick, FrontCounter::ClassCacheMiss, FrontCounter::ClassCacheUnusual]
    {
        assert_eq!(watch.moved(rig, counter), 0, "{counter:?}");
    }
}

#[test]
fn a_control_plane_that_is_started_anew_trusts_no_older_classes() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    ask(rig, Family::V6, "/pages/again", TURNS);
    rig.kill9("front").unwrap();
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let watch = Watch::start(rig);
    ask(rig, Family::V6, "/pages/again", TURNS);
    watch.until(rig, FrontCounter::RequestQuick, TURNS as u64 - SLOW_ONES);
    assert_eq!(watch.moved(rig, FrontCounter::ClassCacheMiss), SLOW_ONES);
}

#[test]
fn a_server_that_falls_silent_gets_no_request_by_the_class_cache() {
    let web = Web { policy: "round-robin", ..Web::default() };
    let Some(mut stage) = stage::with_web(&web) else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    let servers: BTreeSet<String> = ask(rig, Family::V4, "/pages/turns", TURNS).into_iter().collect();
    assert_eq!(servers.len(), 3);
    rig.kill9("server2").unwrap();
    let silent = |rows: &Vec<serde_json::Value>| {
        rows.iter().any(|row| row["name"] == "server2" && row["state"] != "up")
    };
    rig.wait_for("front", "servers", Duration::from_secs(3), silent).unwrap();
    let watch = Watch::start(rig);
    let servers: BTreeSet<String> = ask(rig, Family::V4, "/pages/turns", TURNS).into_iter().collect();
    assert_eq!(servers, ["server1", "server3"].map(str::to_owned).into());
    watch.until(rig, FrontCounter::RequestQuick, TURNS as u64);
}

#[test]
fn a_rule_about_a_cookie_sends_requests_through_the_slow_path() {
    let Some(mut stage) = stage::with_web(&Web::default()) else { return };
    let rig = stage.rig();
    ask(rig, Family::V4, "/pages/cookies", TURNS);
    let change = |rig: &Rig, what| members(rig, &[what, "198.18.0.0/16", "*", "vip=1", "6"]).unwrap();
    change(rig, "add");
    let watch = Watch::start(rig);
    ask(rig, Family::V4, "/pages/cookies", TURNS);
    watch.until(rig, FrontCounter::RequestFirst, TURNS as u64);
    assert_eq!(watch.moved(rig, FrontCounter::RequestQuick), 0);
    change(rig, "remove");
    ask(rig, Family::V4, "/pages/cookies", TURNS);
    watch.until(rig, FrontCounter::RequestQuick, TURNS as u64);
}

/// A policy of which the program knows nothing.
#[test]
fn a_policy_of_the_control_plane_alone_has_no_class_cache() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    rig.stop("front").unwrap();
    rig.start_front(&FrontOptions { policy: "lard".to_owned(), ..stage::front_options() }).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let watch = Watch::start(rig);
    ask(rig, Family::V4, "/pages/lard", TURNS);
    watch.until(rig, FrontCounter::RequestFirst, TURNS as u64);
    assert_eq!(watch.moved(rig, FrontCounter::ClassCacheUndecided), 0);
}

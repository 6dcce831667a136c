//! The context policy in the rig: classes stay with their server, leave it when it is slow, and come back.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{Family, FrontOptions, Rig};

use crate::{curl, stage, stage::FAMILIES, watch::Watch};

#[test]
fn requests_of_one_class_stay_on_one_server() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        let mut used = BTreeSet::new();
        for class in 0..12 {
            let path = format!("/class/{class}");
            let urls = vec![curl::url(rig, family, &path); 10];
            let replies = curl::in_turn(rig, &urls);
            let servers: BTreeSet<&str> = replies.iter().map(|reply| reply.server.as_str()).collect();
            assert_eq!(servers.len(), 1, "{path} went to {servers:?}");
            used.insert(replies[0].server.clone());
        }
        eprintln!("12 paths are on {used:?}");
    }
    let urls = vec![curl::url(rig, Family::V4, "/images/a.png"); 10];
    let server = curl::in_turn(rig, &urls)[0].server.clone();
    let row = class_row(rig, "images");
    assert_eq!(row["server"].as_str(), Some(server.as_str()), "{row}");
    assert!(row["dispatched"].as_u64().unwrap() >= 10, "{row}");
    assert!(row["hits"].as_u64().unwrap() >= 9, "{row}");
    watch.finish(rig);
}

#[test]
fn a_class_leaves_a_slow_server_and_comes_back() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    rig.stop("front").unwrap();
    let options = FrontOptions { load_threshold: "60ms".to_owned(), ..stage::front_options() };
    rig.start_front(&options).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let url = curl::url(rig, Family::V4, "/images/slow.png");
    let home = curl::get(rig, &url).server;
    rig.set_slow(&home, Duration::from_millis(120)).unwrap();
    let moved = drive_until(rig, &url, |server| server != home);
    let row = class_row(rig, "images");
    assert!(row["moved"].as_u64().unwrap() > 0, "{row}");
    rig.set_slow(&home, Duration::ZERO).unwrap();
    // What came to the other server stays while that one is quick: it has the class in its cache now.
    thread::sleep(Duration::from_secs(1));
    rig.set_slow(&moved, Duration::from_millis(120)).unwrap();
    for other in rig.plan().server_names().iter().filter(|server| **server != home && **server != moved) {
        rig.set_slow(other, Duration::from_millis(120)).unwrap();
        let busy = curl::url(rig, Family::V4, "/other");
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| curl::try_get(rig, &busy, 5)))));
    }
    drive_until(rig, &url, |server| server == home);
}

/// Keeps four requests on their way until one is answered by a server that `wanted` accepts; gives that server.
fn drive_until(rig: &Rig, url: &str, wanted: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(15) {
        let servers: Vec<String> = thread::scope(|scope| {
            let requests: Vec<_> = (0..4).map(|_| scope.spawn(|| curl::get(rig, url).server)).collect();
            requests.into_iter().map(|request| request.join().unwrap()).collect()
        });
        if let Some(server) = servers.into_iter().find(|server| wanted(server)) {
            return server;
        }
    }
    panic!("no request moved within 15 s: {}", Value::Array(rig.show("front", "servers").unwrap()));
}

fn class_row(rig: &Rig, name: &str) -> Value {
    let rows = rig.show("front", "bind-table").unwrap();
    let row = rows.iter().find(|row| row["service"] == "web" && row["class_name"] == name);
    row.unwrap_or_else(|| panic!("no class {name} in {rows:?}")).clone()
}

//! What the front-end says of admission, by `why` and `show`, is what clients see; and it counts right after it was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Write},
    net::Shutdown,
    thread,
    time::Duration,
};

use serde_json::Value;
use tests::{Rig, Sources};

use crate::{
    admission::{LEVELS, crowded, fill},
    crowd::{Answer, PATIENCE, SILENCE, TWO_PASSES, Visitor, arrive, at, eventually, filters, tallies},
    stage::{self, Web},
};

/// What becomes of a client.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Served, with this priority.
    Served(String),
    Answered(u16),
    Refused,
    Reset,
    Silence,
}

/// Clients and their cookies.
const ASKED: &[(&str, &str)] = &[
    ("198.19.107.1:5001", ""),
    ("198.19.105.9:5001", ""),
    ("198.19.101.1:5001", ""),
    ("198.19.102.1:5001", ""),
    ("198.19.103.1:5001", "top=1"),
    ("198.19.99.1:5001", "top=1"),
    ("198.19.99.2:5001", "two=1"),
    ("198.19.99.3:5001", "one=1"),
    ("198.19.99.4:5001", ""),
    ("[2001:db8:1:5::9]:5001", ""),
];

#[test]
fn why_says_what_then_becomes_of_each_client() {
    let Some((mut stage, sources)) = crowded() else { return };
    let rig = stage.rig();
    let kept = fill(rig, &sources);
    for (source, cookie) in ASKED {
        let steps =
            why_steps(rig, source, &[cookie].map(|cookie| if cookie.is_empty() { "no=1" } else { cookie }));
        assert_eq!(fate(rig, &sources, source, cookie), foretold(&steps), "{source} {cookie}: {steps:?}");
        eventually("only the two are open", PATIENCE, || filters(rig, "").len() == 2);
    }
    drop(kept);
    eventually("nobody is open", PATIENCE, || tallies(rig, "open") == [0; 8]);
    let (source, cookie) = ASKED[2];
    let source = source.replace("5001", "5002");
    let steps = why_steps(rig, &source, &["no=1"]);
    assert_eq!(fate(rig, &sources, &source, cookie), Fate::Served("1".to_owned()));
    assert_eq!(foretold(&steps), Fate::Served("1".to_owned()));
}

fn foretold(steps: &BTreeMap<String, String>) -> Fate {
    match (steps["at the SYN"].as_str(), steps["at the request"].as_str()) {
        ("refused (reset)", _) => Fate::Refused,
        ("refused (drop)", _) => Fate::Silence,
        (_, "refused (reset)") => Fate::Reset,
        (_, "refused (drop)") => Fate::Silence,
        (_, "refused (503)") => Fate::Answered(503),
        (_, admitted) => {
            assert!(admitted.starts_with("admitted"), "{steps:?}");
            Fate::Served(steps["priority"].clone())
        }
    }
}

fn fate(rig: &Rig, sources: &Sources, source: &str, cookie: &str) -> Fate {
    let mut visitor = match Visitor::try_new(sources, at(source), SILENCE) {
        Ok(visitor) => visitor,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Fate::Refused,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            return Fate::Silence;
        }
    };
    let field = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    visitor.ask("/pages/1", &field).unwrap();
    // A RST is better than a FIN where a request is still to be repeated.
    socket2::SockRef::from(&visitor.stream).set_linger(Some(Duration::ZERO)).unwrap();
    visitor.stream.set_read_timeout(Some(SILENCE)).unwrap();
    match visitor.answer() {
        Ok(answer) if answer.status == 200 => {
            let mut priority = None;
            eventually("its filter", PATIENCE, || {
                priority = filters(rig, "").get(&visitor.source).copied();
                priority.is_some()
            });
            Fate::Served(priority.unwrap().to_string())
        }
        Ok(answer) => Fate::Answered(answer.status),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Fate::Reset,
        Err(_) => Fate::Silence,
    }
}

/// Results of `dispatcher why` by step.
pub(crate) fn why_steps(rig: &Rig, source: &str, cookies: &[&str]) -> BTreeMap<String, String> {
    let mut arguments = vec!["--url", "/pages/1", "--source", source];
    cookies.iter().for_each(|cookie| arguments.extend(["--cookie", cookie]));
    why(rig, &arguments).into_iter().map(|(step, [result, _])| (step, result)).collect()
}

/// Result and reason of each step.
fn why(rig: &Rig, arguments: &[&str]) -> BTreeMap<String, [String; 2]> {
    let rows = rig.rows("front", &[&["why", "--service", "web"], arguments].concat()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["step"]), ["result", "by"].map(|key| text(&row[key])))).collect()
}

/// What is said of a client's connection and of a request on it.
fn why_next(rig: &Rig, visitor: &Visitor, path: &str) -> BTreeMap<String, [String; 2]> {
    let url = format!("http://rig{path}");
    why(rig, &["--url", &url, "--source", &visitor.source.to_string()])
}

fn server_of(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("X-Server: "));
    line.unwrap_or_else(|| panic!("no server in {}", answer.head)).to_owned()
}

#[test]
fn why_follows_a_connection_from_server_to_server_until_it_has_to_stay() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let mut visitor = Visitor::new(&sources, at("198.19.50.1"));
    let (further, undecided) = (of_servers(rig, "further"), of_servers(rig, "undecided"));
    let steps = why_next(rig, &visitor, "/pages/why-0");
    assert_eq!(steps["connection"][0], "none", "{steps:?}");
    assert_eq!(steps["further requests"], ["dispatched one by one", "per_request = true"]);
    let mut servers = BTreeSet::new();
    for number in 0..40 {
        let path = format!("/pages/why-{number}");
        let server = server_of(&visitor.try_get(&path, "").unwrap());
        eventually("the next request may go", PATIENCE, || {
            why_next(rig, &visitor, &path)["next request"][0] == "dispatched"
        });
        let steps = why_next(rig, &visitor, &path);
        assert_eq!(steps["connection"][0], format!("at {server}"), "{steps:?}");
        servers.insert(server);
    }
    assert!(servers.len() > 1, "only {servers:?}");
    foretell_the_way(rig, &mut visitor, "/pages/why-way");
    // Where a body in chunks ends, nobody before the server knows.
    let post = "POST /pages/why HTTP/1.1\r\nHost: rig\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    visitor.stream.write_all(post.as_bytes()).unwrap();
    let server = server_of(&visitor.answer().unwrap());
    let next = why_next(rig, &visitor, "/pages/why-0")["next request"].clone();
    assert_eq!(next, [format!("stays at {server}"), "opaque: chunked".to_owned()]);
    assert_eq!(server_of(&visitor.try_get("/pages/why-0", "").unwrap()), server);
    // All but the first, and but the last.
    assert_eq!(of_servers(rig, "further") - further, 39 + 3 + 1);
    assert_eq!(of_servers(rig, "undecided") - undecided, 1);
}

fn of_servers(rig: &Rig, key: &str) -> u64 {
    rig.show("front", "servers").unwrap().iter().map(|row| row[key].as_u64().unwrap()).sum()
}

/// A request goes the slow path until it is said to be known, and then not.
fn foretell_the_way(rig: &Rig, visitor: &mut Visitor, path: &str) {
    let by_program = |rig: &Rig| {
        rig.counter("front", "further_stayed").unwrap() + rig.counter("front", "further_moving").unwrap()
    };
    let known = |visitor: &Visitor| why_next(rig, visitor, path)["class cache"][0].clone();
    for known_before in ["not known", "not known", "known"] {
        eventually(known_before, PATIENCE, || known(visitor) == known_before);
        let before = by_program(rig);
        assert_eq!(visitor.get(path, ""), 200);
        assert_eq!(by_program(rig) - before, u64::from(known_before == "known"), "{known_before}");
    }
}

#[test]
fn the_counts_by_priority_are_those_of_the_clients_own_log() {
    let web = Web {
        members: LEVELS,
        admission: "connection_limit = 30\nrefusals = { 2 = \"reset\" }\nmin_age = \"0s\"\nidle_after = \"50ms\"",
        ..Web::default()
    };
    let Some(mut stage) = stage::with_web(&web) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let level = |priority: u8, from: u8, count: u8| {
        arrive(&sources, (from..from + count).map(|host| at(&format!("198.19.{}.{host}", 100 + priority))))
    };
    let mut ones = level(1, 1, 10);
    let _fours = level(4, 1, 20);
    thread::sleep(TWO_PASSES);
    // Full: four of priority 7 come in the place of ones, three of 3 too, two of 2 and five of 1 do not come in at all.
    let mut better = level(7, 1, 4);
    better.extend(level(3, 1, 3));
    let refused = (1..=5).map(|host| {
        let mut visitor = Visitor::new(&sources, at(&format!("198.19.101.{}", 100 + host)));
        visitor.get("/pages/1", "")
    });
    assert_eq!(refused.collect::<Vec<_>>(), [503; 5]);
    let left: Vec<_> =
        ones.iter_mut().filter_map(|one| (!one.is_reset(Duration::from_millis(20))).then_some(one)).collect();
    assert_eq!(left.len(), 3, "{:?}", rig.show("front", "priorities").unwrap());
    // Those that are left are below the gate of a service where better ones are; without one of them there is room again.
    let told = left.into_iter().next().unwrap();
    assert_eq!(told.get("/pages/2", ""), 503);
    for visitor in &mut better {
        assert_eq!(visitor.get("/pages/2", ""), 200);
        assert_eq!(visitor.get("/pages/3", ""), 200);
    }
    let expected = |key: &str| match key {
        "admitted" => [0, 10, 0, 3, 20, 0, 0, 4],
        "evicted" => [0, 7, 0, 0, 0, 0, 0, 0],
        "open" => [0, 2, 0, 3, 20, 0, 0, 4],
        "refused_requests" => [0, 5, 0, 0, 0, 0, 0, 0],
        "refused_kept" => [0, 1, 0, 0, 0, 0, 0, 0],
        "answered" => [0, 10, 0, 9, 20, 0, 0, 12],
        _ => [0; 8],
    };
    let keys = [
        "admitted",
        "evicted",
        "open",
        "refused_syn",
        "refused_requests",
        "refused_kept",
        "limited",
        "answered",
    ];
    for key in keys {
        // The acknowledgement of a response may be late by 40 ms.
        eventually(&format!("{key} are {:?}", expected(key)), PATIENCE, || {
            tallies(rig, key) == expected(key)
        });
    }
    let rows = rig.show("front", "priorities").unwrap();
    for row in rows.iter().filter(|row| row["service"] == "web") {
        let (answered, wait) = (row["answered"].as_u64().unwrap(), row["wait_ms"].as_f64());
        assert_eq!(answered > 0, wait.is_some_and(|wait| wait < 10_000.0), "{row}");
    }
    let row = &rig.show("front", "admission").unwrap()[0];
    assert_eq!(
        (row["open"].as_u64(), row["limit"].as_u64(), row["lowest_open"].as_u64()),
        (Some(29), Some(30), Some(1))
    );
    assert_eq!(
        (row["overloaded"].as_bool(), row["gate"].as_u64(), row["causes"].as_str()),
        (Some(false), Some(0), Some(""))
    );
}

#[test]
fn the_counts_of_open_flows_are_right_after_the_front_end_was_killed_or_stopped() {
    let web = Web { members: LEVELS, admission: "connection_limit = 10\nmin_age = \"0s\"", ..Web::default() };
    let Some(mut stage) = stage::with_web(&web) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let mut ones = arrive(&sources, (1..=6).map(|host| at(&format!("198.19.101.{host}"))));
    let mut fours = arrive(&sources, (1..=4).map(|host| at(&format!("198.19.104.{host}"))));
    assert_eq!(tallies(rig, "open"), [0, 6, 0, 0, 4, 0, 0, 0]);
    rig.kill9("front").unwrap();
    // Known flows go on, and their ends are counted, without the daemon.
    assert_eq!(fours[0].get("/pages/2", ""), 200);
    drop(ones.split_off(4));
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(PATIENCE).unwrap();
    eventually("four and four are open", PATIENCE, || tallies(rig, "open") == [0, 4, 0, 0, 4, 0, 0, 0]);
    thread::sleep(TWO_PASSES);
    assert_eq!(tallies(rig, "open"), [0, 4, 0, 0, 4, 0, 0, 0], "the census agrees");
    assert_eq!(ones[0].get("/pages/2", ""), 200);
    // The rules hold again, and the limit with them.
    let mut more = arrive(&sources, (7..=8).map(|host| at(&format!("198.19.101.{host}"))));
    let mut late = Visitor::new(&sources, at("198.19.101.9"));
    assert_eq!(late.get("/pages/1", ""), 503);
    rig.stop("front").unwrap();
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(PATIENCE).unwrap();
    assert_eq!(tallies(rig, "open"), [0; 8], "a clean stop forgets all");
    for visitor in ones.iter_mut().chain(&mut fours).chain(&mut more) {
        visitor.ask("/pages/3", "").unwrap();
        assert!(visitor.is_reset(PATIENCE), "{}: nobody knows it any more", visitor.source);
        let _ = visitor.stream.shutdown(Shutdown::Both);
    }
    assert_eq!(tallies(rig, "open"), [0; 8]);
}

//! Rules that give clients their priority: from the service's file and live, by source, port and cookie, for real requests.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use dispatcher_common::counter::ControlCounter;
use tests::{Rig, Sources, source_ipv4};

use crate::{
    crowd::{PATIENCE, Visitor, arrive, at, eventually, filters, tallies},
    stage::{self, Web},
    watch::Watch,
};

const RULES: &str = "\
# clients of the test
198.19.1.0/24 * - 5
198.19.1.7 * - 6
198.19.2.0/24 4147 - 1
198.19.2.0/24 * plan=gold 7   # signed by nobody
198.19.2.0/24 * plan 4
2001:db8:1:1::/64 * - 6
";

/// Client, its fields and the priority that the rules give.
const CASES: &[(&str, &str, u64)] = &[
    ("198.19.1.1", "", 5),
    ("198.19.1.7", "", 6),
    ("198.19.1.7", "Cookie: plan=gold\r\n", 6),
    ("198.19.9.9", "Cookie: plan=gold\r\n", 3),
    ("198.19.2.1:4147", "", 1),
    // At equal prefixes a rule for its port goes before one for any.
    ("198.19.2.2:4147", "Cookie: plan=gold\r\n", 1),
    ("198.19.2.3:4148", "Cookie: plan=gold\r\n", 7),
    ("198.19.2.4", "Cookie: a=b; plan=\"gold\"; c=d\r\n", 7),
    ("198.19.2.5", "Cookie: plan=silver\r\nX: y\r\nCookie: plan=gold\r\n", 7),
    ("198.19.2.6", "cookie: plan=silver\r\n", 4),
    ("198.19.2.7", "Cookie: xplan=gold\r\n", 3),
    ("198.19.2.8", "", 3),
    ("2001:db8:1:1::5", "", 6),
    ("2001:db8:1:2::5", "", 3),
];

#[test]
fn rules_of_the_file_decide_by_source_port_and_cookie() {
    let Some(mut stage) = stage::with_web(&Web { members: RULES, ..Web::default() }) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    for (source, fields, expected) in CASES {
        assert_eq!(priority(rig, &sources, source, fields), *expected, "{source} {fields:?}");
    }
    // A head in two segments shows its cookie in the second.
    let mut visitor = Visitor::new(&sources, at("198.19.2.9"));
    std::io::Write::write_all(&mut visitor.stream, b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\nCook").unwrap();
    thread::sleep(Duration::from_millis(50));
    std::io::Write::write_all(&mut visitor.stream, b"ie: plan=gold\r\n\r\n").unwrap();
    assert_eq!(visitor.answer().unwrap().status, 200);
    assert_eq!(shown(rig, visitor.source), 7);
}

#[test]
fn rules_are_added_removed_and_replaced_while_the_front_end_runs() {
    let Some(mut stage) = stage::with_web(&Web { members: RULES, ..Web::default() }) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    assert_eq!(members(rig, &["list"]).unwrap(), listed(RULES));
    members(rig, &["add", "198.19.9.0/24", "*", "-", "0"]).unwrap();
    assert_eq!(priority(rig, &sources, "198.19.9.9", ""), 0);
    members(rig, &["remove", "198.19.9.0/24", "*", "-"]).unwrap();
    assert_eq!(priority(rig, &sources, "198.19.9.9", ""), 3);
    // A kept connection is judged anew at its next request.
    let mut kept = arrive(&sources, [at("198.19.1.1")]).remove(0);
    let file = rig.plan().run_dir().join("front/other.members");
    fs::write(&file, "198.19.0.0/16 * - 2\n").unwrap();
    let file = file.display().to_string();
    members(rig, &["load", &file]).unwrap();
    assert_eq!(priority(rig, &sources, "198.19.1.1", ""), 2);
    assert_eq!(shown(rig, kept.source), 5);
    assert_eq!((kept.get("/pages/2", ""), shown(rig, kept.source)), (200, 2));
    // What is listed can be loaded.
    fs::write(&file, RULES).unwrap();
    members(rig, &["load", &file]).unwrap();
    let list = members(rig, &["list"]).unwrap();
    fs::write(&file, &list).unwrap();
    members(rig, &["load", &file]).unwrap();
    assert_eq!(members(rig, &["list"]).unwrap(), list);
    assert_eq!(list, listed(RULES));
    let rows = rig.rows("front", &["members", "list", "--service", "web"]).unwrap();
    assert_eq!(rows[2]["port"], 4147);
    assert_eq!(rows.len(), 6);
}

#[test]
fn a_mistake_in_the_rules_is_named_with_its_line_and_the_old_rules_hold() {
    let Some(mut stage) = stage::with_web(&Web { members: RULES, ..Web::default() }) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let file = rig.plan().run_dir().join("front/bad.members");
    let name = file.display().to_string();
    for (text, at) in [
        ("198.19.0.0/16 * - 2\n198.19.0.0/16 * - 8\n", ":2: priority"),
        ("\n# one\n140.117.*.* * - 2\n", ":3: source"),
        ("198.19.0.0/16 * - 2\n198.19.0.0/16 * - 3\n", ":2: source, port and cookie are those of line 1"),
        ("198.19.0.0/16 0 - 2\n", ":1: port"),
    ] {
        fs::write(&file, text).unwrap();
        let error = members(rig, &["load", &name]).unwrap_err();
        assert!(error.contains(&format!("{name}{at}")), "{text:?}: {error}");
    }
    let error = members(rig, &["add", "198.19.1.0/24", "*", "-", "2"]).unwrap_err();
    assert!(error.contains("same source, port and cookie"), "{error}");
    let error = members(rig, &["remove", "198.19.3.0/24", "*", "-"]).unwrap_err();
    assert!(error.contains("no such rule"), "{error}");
    assert_eq!(members(rig, &["list"]).unwrap(), listed(RULES));
    assert_eq!(priority(rig, &sources, "198.19.1.1", ""), 5);
    checked_before_start(rig);
}

/// The service's own file: `dispatcher check` finds its mistake, and the front-end does not start with it.
fn checked_before_start(rig: &mut Rig) {
    let config = rig.plan().run_dir().join("front/dispatcher.toml");
    let check = |rig: &Rig| {
        let dispatcher = rig.dispatcher();
        let output =
            rig.host("front").unwrap().command(dispatcher).arg("check").arg(&config).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (good, text) = check(rig);
    assert!(good && text.contains("6 member rules"), "{text}");
    fs::write(stage::members_file(rig), "198.19.0.0/16 * - 2\n198.19.0.0/33 * - 2\n").unwrap();
    let (good, text) = check(rig);
    assert!(!good && text.contains("web.members:2: source"), "{text}");
    let error = format!("{:#}", rig.restart("front").unwrap_err());
    assert!(error.contains("web.members:2: source"), "{error}");
    fs::write(stage::members_file(rig), RULES).unwrap();
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(PATIENCE).unwrap();
}

#[test]
fn a_signed_cookie_gives_its_priority_and_a_forged_or_expired_one_none() {
    let web = Web { keys: "signed_cookie = \"pass\"\n", members: RULES, ..Web::default() };
    let Some(mut stage) = stage::with_web(&web) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let watch = Watch::start(rig);
    let sign = |service: &str, level: &str, expires: &str| {
        let config = rig.plan().run_dir().join("front/dispatcher.toml");
        let mut command = rig.host("front").unwrap().command(rig.dispatcher());
        command.args(["members", "sign-cookie", "--service", service, "--priority", level]);
        let output = command.args(["--expires", expires, "--config"]).arg(config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("Cookie: {}\r\n", String::from_utf8(output.stdout).unwrap().trim())
    };
    let good = sign("web", "7", "1h");
    assert_eq!(priority(rig, &sources, "198.19.9.1", &good), 7);
    // It goes before rules, also downwards.
    assert_eq!(priority(rig, &sources, "198.19.1.1", &sign("web", "0", "1h")), 0);
    assert_eq!(watch.moved(rig, ControlCounter::SignedCookieBad), 0);
    let expired = sign("web", "7", "0s");
    let forged = good.replacen("pass=v1.7.", "pass=v1.6.", 1);
    assert_ne!(forged, good);
    for (bad, source) in [(&expired, "198.19.9.2"), (&forged, "198.19.9.3")] {
        assert_eq!(priority(rig, &sources, source, bad), 3, "{bad:?}");
    }
    assert_eq!(priority(rig, &sources, "198.19.1.2", &expired), 5, "the rules hold then");
    watch.until(rig, ControlCounter::SignedCookieBad, 3);
    watch.finish(rig);
}

/// Clients of the load.
const LOADERS: u16 = 4;
/// Kept connections that fill the service: overloaded, it refuses whoever is of the default priority.
const KEPT: u16 = 200;

#[test]
fn ten_thousand_rules_change_at_once_for_every_request_under_load() {
    let rest = "198.19.255.0/24 * - 1\n";
    let table_a: String = (0..10_000).map(|i| format!("{}/32 * - 2\n", source_ipv4(i))).collect();
    let fives =
        (0..5_000).map(|i| format!("{}/31 * - 5\n{}/32 * - 5\n", source_ipv4(2 * i), source_ipv4(2 * i)));
    let tables = [table_a + rest, fives.collect::<String>() + rest];
    let web = Web {
        keys: "priority = 0\n",
        members: &tables[0],
        admission: "connection_limit = 200\nevictions_per_second = 0\nrefusal = \"reset\"",
        ..Web::default()
    };
    let Some(mut stage) = stage::with_web(&web) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let _kept = arrive(&sources, (0..KEPT).map(|i| SocketAddr::new(source_ipv4(0xff00 + i).into(), 0)));
    let files = [0, 1].map(|i| rig.plan().run_dir().join(format!("front/table{i}.members")));
    for (file, text) in files.iter().zip(&tables) {
        fs::write(file, text).unwrap();
    }
    let (loading, served) = (AtomicBool::new(true), AtomicU64::new(0));
    let changes = thread::scope(|scope| {
        for loader in 0..LOADERS {
            let (sources, loading, served) = (&sources, &loading, &served);
            scope.spawn(move || load_from(sources, loader, loading, served));
        }
        let mut changes = 0;
        // Longer if the machine is busy with other things.
        while changes < 12 || served.load(Ordering::Relaxed) < 500 {
            members(rig, &["load", &files[(changes + 1) % 2].display().to_string()]).unwrap();
            changes += 1;
            assert!(changes < 200, "the load does not get on");
        }
        loading.store(false, Ordering::Relaxed);
        changes
    });
    let served = served.load(Ordering::Relaxed);
    let admitted = tallies(rig, "admitted");
    eprintln!(
        "{served} requests during {changes} changes of 10 000 rules: admitted by priority {admitted:?}"
    );
    assert_eq!(admitted[2] + admitted[5], served, "{admitted:?}");
    assert_eq!(admitted[1], u64::from(KEPT));
    assert!(admitted[2] > 0 && admitted[5] > 0, "{admitted:?}");
    assert_eq!(admitted.iter().sum::<u64>(), served + u64::from(KEPT));
    assert_eq!([tallies(rig, "refused_syn"), tallies(rig, "refused_requests")], [[0; 8]; 2]);
    assert_eq!(rig.show("front", "admission").unwrap()[0]["rules"], 10_001);
}

/// Requests, each on a connection of its own, until it is enough. None may fail.
fn load_from(sources: &Sources, loader: u16, loading: &AtomicBool, served: &AtomicU64) {
    let one = |i: u16| {
        let source = SocketAddr::new(source_ipv4(loader * 2000 + i).into(), 0);
        let mut stream = sources.connect_inside(source, PATIENCE).unwrap_or_else(|e| panic!("{source}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).unwrap();
        let mut answer = String::new();
        let read = std::io::Read::read_to_string(&mut stream, &mut answer);
        assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200 "), "{source}: {read:?} {answer:?}");
        served.fetch_add(1, Ordering::Relaxed);
    };
    let all = || (0..2000).cycle().take_while(|_| loading.load(Ordering::Relaxed)).for_each(one);
    // A failure ends the test, not only this thread.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sources.host().enter(all).unwrap()));
    if ended.is_err() {
        served.fetch_add(1 << 32, Ordering::Relaxed);
    }
}

/// Connects, asks and gives the priority that the filter has then.
fn priority(rig: &Rig, sources: &Sources, source: &str, fields: &str) -> u64 {
    let mut visitor = Visitor::new(sources, at(source));
    assert_eq!(visitor.get("/pages/1", fields), 200, "{source}");
    shown(rig, visitor.source)
}

/// The priority of a flow, once its filter is written.
fn shown(rig: &Rig, client: SocketAddr) -> u64 {
    let mut found = None;
    eventually("a filter", PATIENCE, || {
        found = filters(rig, &client.ip().to_string()).get(&client).copied();
        found.is_some()
    });
    found.unwrap()
}

/// `dispatcher members … --service web`: what it prints, or what it complains of.
pub(crate) fn members(rig: &Rig, arguments: &[&str]) -> Result<String, String> {
    let arguments = [&["members"], arguments, &["--service", "web"]].concat();
    let output = rig.ask("front", &arguments).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Rules as they are listed: without what a reader does not need, hosts as prefixes.
fn listed(rules: &str) -> String {
    let lines =
        rules.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty());
    let with_bits = |line: &str| match line.split_once(' ') {
        Some((source, rest)) if !source.contains('/') => format!("{source}/32 {rest}\n"),
        _ => format!("{line}\n"),
    };
    "# source port cookie priority\n".to_owned() + &lines.map(with_bits).collect::<String>()
}

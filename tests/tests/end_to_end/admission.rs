//! Who gets in while the service is overloaded, and how those hear of it who do not: at the SYN, at the first request and on kept
//! connections.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use dispatcher_common::counter::ControlCounter;
use tests::{Family, Rig, Sources};

use crate::{
    accounts::why_steps,
    crowd::{
        PATIENCE, SILENCE, TWO_PASSES, Visitor, arrive, at, eventually, filters, server_sockets, tallies,
        tally,
    },
    curl,
    members::members,
    stage::{self, Web},
    watch::Watch,
};

/// Table 1 of the paper. The rig's client owns 198.19, so 140.117.164, 140.122.65, 163.124.10 and 210 are subnets of it.
const TABLE_1: &str = "\
198.19.117.0/24 4147 A 2
198.19.122.0/24 * B 7
198.19.163.103 * C 3
198.19.210.0/24 6521 C 0
";

/// Table 2: open connections and their priorities.
const TABLE_2: [(&str, u64); 4] = [
    ("198.19.117.108:4557", 0),
    ("198.19.122.25:3987", 5),
    ("198.19.210.141:1821", 7),
    ("198.19.210.1:6521", 7),
];

/// The paper's request; its cookie is A.
const REQUEST: &str = "198.19.117.90:4147";

#[test]
fn tables_one_to_three_a_request_with_room_takes_nobodys_place() {
    let Some(golden) = Golden::start(5) else { return };
    let expected = TABLE_2.into_iter().chain([(REQUEST, 2)]);
    golden.request(expected.collect(), "admitted");
}

#[test]
fn tables_one_to_four_an_overloaded_service_evicts_the_lowest_for_the_request() {
    let Some(golden) = Golden::start(4) else { return };
    let expected = TABLE_2.into_iter().skip(1).chain([(REQUEST, 2)]);
    golden.request(expected.collect(), "admitted in the place of a flow of priority 0");
}

/// Tables 1 and 2 as they stand in a front-end.
struct Golden {
    stage: stage::Stage,
    sources: Sources,
    visitors: Vec<Visitor>,
}

impl Golden {
    fn start(limit: u32) -> Option<Self> {
        let admission = format!("connection_limit = {limit}\nmin_age = \"0s\"\nidle_after = \"10ms\"");
        let web = Web { keys: "priority = 0\n", members: TABLE_1, admission: &admission, ..Web::default() };
        let mut stage = stage::with_web(&web)?;
        let rig = stage.rig();
        let sources = Sources::new(rig).unwrap();
        let rules = TABLE_2.iter().filter(|(_, priority)| *priority > 0).map(|(source, priority)| {
            let (address, port) = source.rsplit_once(':').unwrap();
            [address.to_owned(), port.to_owned(), "-".to_owned(), priority.to_string()]
        });
        let rules: Vec<_> = rules.collect();
        for rule in &rules {
            members(rig, &["add", &rule[0], &rule[1], &rule[2], &rule[3]]).unwrap();
        }
        let visitors = arrive(&sources, TABLE_2.map(|(source, _)| at(source)));
        for rule in &rules {
            members(rig, &["remove", &rule[0], &rule[1], &rule[2]]).unwrap();
        }
        assert_eq!(filters(rig, "198.19."), set(TABLE_2.into_iter().collect()));
        thread::sleep(TWO_PASSES);
        Some(Self { stage, sources, visitors })
    }

    fn request(mut self, expected: Vec<(&str, u64)>, why: &str) {
        let rig = self.stage.rig();
        let steps = why_steps(rig, REQUEST, &["A=1"]);
        assert_eq!((steps["priority"].as_str(), steps["at the request"].as_str()), ("2", why));
        let mut visitor = Visitor::new(&self.sources, at(REQUEST));
        assert_eq!(visitor.get("/pages/1", "Cookie: A=1\r\n"), 200);
        let expected = set(expected);
        eventually("the filters of the table", PATIENCE, || filters(rig, "198.19.") == expected);
        for visitor in &mut self.visitors {
            if expected.contains_key(&visitor.source) {
                assert!(visitor.is_silent(Duration::from_millis(50)), "{}", visitor.source);
            } else {
                assert!(visitor.is_reset(PATIENCE), "{}", visitor.source);
            }
        }
        assert_eq!(tallies(rig, "evicted")[0], 5 - expected.len() as u64);
    }
}

fn set(rows: Vec<(&str, u64)>) -> BTreeMap<SocketAddr, u64> {
    rows.into_iter().map(|(source, priority)| (at(source), priority)).collect()
}

/// Sources by their priority: 198.19.100 plus that. From 198.19.99 a cookie lowers a client that may be of priority 7.
pub(crate) const LEVELS: &str = "\
198.19.99.0/24 * top 7
198.19.99.0/24 * two 2
198.19.99.0/24 * one 1
198.19.101.0/24 * - 1
198.19.102.0/24 * - 2
198.19.103.0/24 * - 3
198.19.104.0/24 * - 4
198.19.105.0/24 * - 5
198.19.107.0/24 * - 7
2001:db8:1:5::/64 * - 5
";

/// Room for two, whom nobody may evict; each of the lower priorities is refused in a way of its own.
const ROOM_FOR_TWO: &str = "\
connection_limit = 2
evictions_per_second = 0
refusals = { 1 = \"drop\", 2 = \"reset\" }";

pub(crate) fn crowded() -> Option<(stage::Stage, Sources)> {
    let web = Web { members: LEVELS, admission: ROOM_FOR_TWO, ..Web::default() };
    let mut stage = stage::with_web(&web)?;
    let sources = Sources::new(stage.rig()).unwrap();
    Some((stage, sources))
}

/// Two flows of priority 5.
pub(crate) fn fill(rig: &Rig, sources: &Sources) -> Vec<Visitor> {
    let kept = arrive(sources, [at("198.19.105.1"), at("2001:db8:1:5::1")]);
    eventually("two open flows", PATIENCE, || tally(rig, 5, "open") == 2);
    kept
}

#[test]
fn a_newcomer_is_reset_or_ignored_at_its_syn_and_gets_in_when_there_is_room() {
    let Some((mut stage, sources)) = crowded() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let mut kept = fill(rig, &sources);
    let error = Visitor::try_new(&sources, at("198.19.102.1"), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let error = Visitor::try_new(&sources, at("198.19.101.1"), SILENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(tally(rig, 2, "refused_syn"), 1);
    assert!(tally(rig, 1, "refused_syn") >= 1);
    // Its kernel tries again by itself, after one second and after three.
    thread::scope(|scope| {
        let late = scope.spawn(|| Visitor::new(&sources, at("198.19.101.2")).get("/pages/1", ""));
        eventually("a SYN was ignored", PATIENCE, || tally(rig, 1, "refused_syn") >= 3);
        kept.remove(0);
        assert_eq!(late.join().unwrap(), 200);
    });
    watch.finish(rig);
}

#[test]
fn a_client_that_came_in_time_is_judged_again_at_its_first_request() {
    let Some((mut stage, sources)) = crowded() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let [mut silenced, mut reset, mut told] =
        ["198.19.101.1", "198.19.102.1", "198.19.103.1"].map(|source| Visitor::new(&sources, at(source)));
    let mut kept = fill(rig, &sources);
    reset.ask("/pages/1", "").unwrap();
    assert!(reset.is_reset(PATIENCE));
    assert_eq!(told.get("/pages/1", ""), 503);
    silenced.ask("/pages/1", "").unwrap();
    assert!(silenced.is_silent(SILENCE));
    let refused = tallies(rig, "refused_requests");
    assert!(refused[1] >= 1 && refused[2..4] == [1, 1], "{refused:?}");
    kept.remove(0);
    assert_eq!(silenced.answer().unwrap().status, 200, "its kernel sent the request again");
    watch.finish(rig);
}

#[test]
fn a_client_is_refused_by_the_priority_that_its_cookie_shows() {
    let Some((mut stage, sources)) = crowded() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let mut kept = fill(rig, &sources);
    let ask = |host: u8, cookie: &str| {
        let mut visitor = Visitor::new(&sources, at(&format!("198.19.99.{host}")));
        visitor.ask("/pages/1", &format!("Cookie: {cookie}\r\n")).unwrap();
        visitor
    };
    let mut told = ask(1, "none=1");
    let answer = told.answer().unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (503, &b"try again later\n"[..]));
    assert!(ask(2, "two=1").is_reset(PATIENCE));
    let mut silenced = ask(3, "one=1");
    assert!(silenced.is_silent(SILENCE));
    assert_eq!(ask(4, "top=1").answer().unwrap().status, 200, "better than both");
    let refused = tallies(rig, "refused_requests");
    assert!(refused[1] >= 1 && refused[2..4] == [1, 1], "{refused:?}");
    assert_eq!(tallies(rig, "refused_syn"), [0; 8], "nobody knew at the SYN");
    kept.clear();
    assert_eq!(silenced.answer().unwrap().status, 200);
    watch.finish(rig);
}

#[test]
fn a_refusal_is_a_clean_503_with_retry_after_for_every_method() {
    let Some((mut stage, sources)) = crowded() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let _kept = fill(rig, &sources);
    let whole = |source: &str, request: &str| {
        let mut visitor = Visitor::new(&sources, at(source));
        visitor.stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        visitor.stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    for source in ["198.19.103.1", "2001:db8:1:9::1"] {
        for request in [
            "GET /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n",
            "HEAD /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n",
            // Bodies that are not sent yet.
            "POST /pages/1 HTTP/1.1\r\nHost: rig\r\nContent-Length: 100000\r\n\r\n",
            "PUT /pages/1 HTTP/1.1\r\nHost: rig\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        ] {
            let (head, body) = whole(source, request);
            assert!(head.starts_with("HTTP/1.1 503 "), "{request}: {head}");
            for field in ["\r\nRetry-After: 5", "\r\nConnection: close", "\r\nContent-Length: 16"] {
                assert!(head.contains(field), "{request}: {head}");
            }
            let expected = if request.starts_with("HEAD") { "" } else { "try again later\n" };
            assert_eq!(body, expected, "{request}");
        }
    }
    // Real clients that send their bodies at once, or ask first.
    let (small, large) =
        (rig.plan().run_dir().join("client/small"), rig.plan().run_dir().join("client/large"));
    std::fs::write(&small, vec![b'x'; 60_000]).unwrap();
    std::fs::write(&large, vec![b'x'; 2_000_000]).unwrap();
    for file in [small, large] {
        let mut command = rig.host("client").unwrap().command("curl");
        command.args(["-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary"]);
        command.arg(format!("@{}", file.display())).arg(curl::url(rig, Family::V4, "/pages/1"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "503", "{output:?}");
    }
    watch.until(rig, ControlCounter::RequestRefused, 10);
    assert_eq!(tallies(rig, "refused_requests")[3], 10);
    watch.finish(rig);
}

/// Overloaded when every server has 100 ms of work or more.
const BUSY: &str = "\
load_bound = \"100ms\"
refusals = { 1 = \"503\", 2 = \"reset\", 3 = \"drop\" }";

const SLOWNESS: Duration = Duration::from_millis(150);

#[test]
fn a_request_on_a_kept_connection_is_refused_while_all_servers_have_too_much_work() {
    let web = Web { policy: "round-robin", members: LEVELS, admission: BUSY, ..Web::default() };
    let Some(mut stage) = stage::with_web(&web) else { return };
    let rig = stage.rig();
    let sources = Sources::new(rig).unwrap();
    let watch = Watch::start(rig);
    let lower = ["198.19.101.1", "198.19.102.1", "198.19.103.1"].map(at);
    let mut kept = arrive(&sources, lower);
    let workers = arrive(&sources, (1..=12).map(|host| at(&format!("198.19.107.{host}"))));
    set_slow(rig, SLOWNESS);
    let rig = &*rig;
    let working = AtomicBool::new(true);
    let mut dropped = thread::scope(|scope| {
        for mut worker in workers {
            let work = &working;
            scope.spawn(move || while work.load(Ordering::Relaxed) && worker.get("/slow", "") == 200 {});
        }
        // The panic of a thread that others wait for would not end.
        let judged =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| refused_in_turn(rig, &mut kept)));
        working.store(false, Ordering::Relaxed);
        judged.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        kept.pop().unwrap()
    });
    // The load has gone: its kernel sends the request again.
    assert_eq!(dropped.answer().unwrap().status, 200);
    for server in rig.plan().server_names() {
        stage.rig().set_slow(&server, Duration::ZERO).unwrap();
    }
    watch.finish(stage.rig());
}

/// Each is told in its priority's way: the first gets a 503, the next a RST, the last no answer.
fn refused_in_turn(rig: &Rig, kept: &mut [Visitor]) {
    let sources: Vec<SocketAddr> = kept.iter().map(|visitor| visitor.source).collect();
    assert_eq!(server_sockets(rig, &sources), 3);
    refused(rig, &mut kept[0], 1);
    let answer = kept[0].answer().unwrap();
    assert!(answer.status == 503 && answer.head.contains("Retry-After: 5"), "{}", answer.head);
    eventually("its server's socket is gone", PATIENCE, || server_sockets(rig, &sources[..1]) == 0);
    refused(rig, &mut kept[1], 2);
    assert!(kept[1].is_reset(PATIENCE));
    eventually("its server's socket is gone", PATIENCE, || server_sockets(rig, &sources[1..2]) == 0);
    refused(rig, &mut kept[2], 3);
    assert_eq!([1, 2].map(|priority| tally(rig, priority, "refused_kept")), [1, 1]);
    assert_eq!([1, 2, 3].map(|priority| tally(rig, priority, "open")), [0, 0, 1]);
    assert_eq!(tally(rig, 7, "refused_kept"), 0);
}

/// Asks until a request of this priority is refused: on a busy machine reports come late, and the load seems to be gone.
fn refused(rig: &Rig, visitor: &mut Visitor, priority: u8) {
    for _ in 0..20 {
        eventually("the gate refuses this priority for the load", PATIENCE, || {
            let row = &rig.show("front", "admission").unwrap()[0];
            let by_load = row["causes"].as_str().is_some_and(|causes| causes.starts_with("load"));
            by_load && row["gate"].as_u64().is_some_and(|gate| gate > u64::from(priority))
        });
        // The kernel's program gets it every 20 ms.
        thread::sleep(Duration::from_millis(100));
        visitor.ask("/pages/2", "").unwrap();
        thread::sleep(Duration::from_millis(50));
        if tally(rig, priority, "refused_kept") > 0 {
            return;
        }
        assert_eq!(visitor.answer().unwrap().status, 200);
    }
    panic!("{} was served each time", visitor.source);
}

fn set_slow(rig: &mut Rig, delay: Duration) {
    for server in rig.plan().server_names() {
        rig.set_slow(&server, delay).unwrap();
    }
}

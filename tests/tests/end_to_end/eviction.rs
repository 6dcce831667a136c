//! Who gives way to newcomers of higher priority, who never does, and that both ends of an evicted connection hear of it at once.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::ControlCounter;
use tests::{Family, Rig, Sources, source_ipv4, wire::Flags};

use crate::{
    admission::LEVELS,
    crowd::{PATIENCE, TWO_PASSES, Visitor, arrive, at, eventually, server_sockets, tallies, tally},
    curl, direct_return,
    insider::{Insider, insider_address},
    stage::{self, Web},
    watch::Watch,
};

/// A front-end with room for so many, and more settings.
fn room_for(limit: u32, more: &str) -> Option<(stage::Stage, Sources)> {
    let admission = format!("connection_limit = {limit}\n{more}");
    let web = Web { policy: "round-robin", members: LEVELS, admission: &admission, ..Web::default() };
    let mut stage = stage::with_web(&web)?;
    let sources = Sources::new(stage.rig()).unwrap();
    Some((stage, sources))
}

/// So many kept connections of a priority.
fn of_priority(sources: &Sources, priority: u8, hosts: std::ops::RangeInclusive<u8>) -> Vec<Visitor> {
    arrive(sources, hosts.map(|host| at(&format!("198.19.{}.{host}", 100 + priority))))
}

/// How many are reset, each at once or not at all.
fn reset_of(visitors: &mut [Visitor]) -> usize {
    visitors
        .iter_mut()
        .filter_map(|visitor| visitor.is_reset(Duration::from_millis(10)).then_some(()))
        .count()
}

#[test]
fn each_newcomer_of_higher_priority_takes_the_place_of_one_idle_flow() {
    let Some((mut stage, sources)) = room_for(40, "idle_after = \"100ms\"") else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let mut ones = of_priority(&sources, 1, 1..=30);
    let mut fours = of_priority(&sources, 4, 1..=10);
    let sources_of_ones: Vec<SocketAddr> = ones.iter().map(|one| one.source).collect();
    assert_eq!(server_sockets(rig, &sources_of_ones), 30);
    thread::sleep(TWO_PASSES);
    let mut fives = of_priority(&sources, 5, 1..=20);
    assert_eq!(reset_of(&mut ones), 20);
    assert_eq!((reset_of(&mut fours), reset_of(&mut fives)), (0, 0));
    watch.until(rig, ControlCounter::FlowEvicted, 20);
    assert_eq!(tallies(rig, "evicted"), [0, 20, 0, 0, 0, 0, 0, 0]);
    assert_eq!(tallies(rig, "open"), [0, 10, 0, 0, 10, 20, 0, 0]);
    assert_eq!(watch.moved(rig, ControlCounter::VictimAbsent), 0);
    eventually("their servers' sockets are gone", PATIENCE, || server_sockets(rig, &sources_of_ones) == 10);
    // Equals take nobody's place.
    let told = of_equal_or_lower(&sources);
    assert_eq!(told, [503; 4]);
    assert_eq!((reset_of(&mut ones), watch.moved(rig, ControlCounter::FlowEvicted)), (20 - 20, 20));
    for visitor in fours.iter_mut().chain(&mut fives) {
        assert_eq!(visitor.get("/pages/2", ""), 200, "{}", visitor.source);
    }
    watch.finish(rig);
}

fn of_equal_or_lower(sources: &Sources) -> Vec<u16> {
    let ask = |host: u8| Visitor::new(sources, at(&format!("198.19.101.{host}"))).get("/pages/1", "");
    (101..=104).map(ask).collect()
}

#[test]
fn a_flow_that_takes_in_a_response_is_not_evicted() {
    let Some((mut stage, sources)) = room_for(4, "min_age = \"0s\"") else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let _sevens = of_priority(&sources, 7, 1..=3);
    let download = download_from(rig, "198.19.101.1");
    let outcome = thread::scope(|scope| {
        let download = scope.spawn(|| direct_return::check_content(download, 100 << 20));
        eventually("the download runs", PATIENCE, || tally(rig, 1, "open") == 1);
        thread::sleep(TWO_PASSES);
        let mut newcomer = Visitor::new(&sources, at("198.19.105.1"));
        assert_eq!(newcomer.get("/pages/1", ""), 200, "nobody may give way, and it is better");
        assert_eq!(tally(rig, 1, "open"), 1, "the download still runs");
        download.join()
    });
    outcome.expect("the download was whole");
    assert_eq!(watch.moved(rig, ControlCounter::FlowEvicted), 0);
    watch.finish(rig);
}

/// 100 MB in about four seconds.
fn download_from(rig: &Rig, source: &str) -> Command {
    let mut command = rig.host("client").unwrap().command("curl");
    command.args(["-sS", "-m", "60", "--limit-rate", "25M", "--interface", source]);
    command.arg(curl::url(rig, Family::V4, "/bytes/100m")).stdin(Stdio::null());
    command
}

#[test]
fn nobody_younger_than_the_minimum_age_is_evicted_and_the_limit_is_exceeded_by_a_quarter_at_most() {
    let Some((mut stage, sources)) = room_for(8, "min_age = \"1h\"\nidle_after = \"10ms\"") else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let mut ones = of_priority(&sources, 1, 1..=8);
    thread::sleep(TWO_PASSES);
    let statuses: Vec<u16> = (1..=6)
        .map(|host| {
            let mut visitor = Visitor::new(&sources, at(&format!("198.19.105.{host}")));
            let status = visitor.get("/pages/1", "");
            ones.push(visitor);
            status
        })
        .collect();
    assert_eq!(statuses, [200, 200, 200, 503, 503, 503]);
    assert_eq!(watch.moved(rig, ControlCounter::FlowEvicted), 0);
    assert_eq!(tallies(rig, "open"), [0, 8, 0, 0, 0, 3, 0, 0]);
    watch.until(rig, ControlCounter::VictimAbsent, 3);
    watch.finish(rig);
}

#[test]
fn evictions_stay_within_the_budgets_of_the_service_and_of_a_source() {
    for (budget, from_elsewhere) in
        [("evictions_per_second = 5", 0), ("evictions_per_source = 5\neviction_prefix_ipv4 = 24", 1)]
    {
        let more = format!("min_age = \"0s\"\nidle_after = \"10ms\"\n{budget}");
        let Some((mut stage, sources)) = room_for(40, &more) else { return };
        let rig = stage.rig();
        let watch = Watch::start(rig);
        let mut ones = of_priority(&sources, 1, 1..=40);
        thread::sleep(TWO_PASSES);
        let start = Instant::now();
        let mut admitted = 0;
        let mut newcomers: Vec<Visitor> = Vec::new();
        for host in 1..=30 {
            let mut newcomer = Visitor::new(&sources, at(&format!("198.19.105.{host}")));
            admitted += u64::from(newcomer.get("/pages/1", "") == 200);
            newcomers.push(newcomer);
        }
        let evicted = watch.moved(rig, ControlCounter::FlowEvicted);
        let allowed = 5.0 + 5.0 * start.elapsed().as_secs_f64();
        eprintln!("{budget}: {evicted} evicted for {admitted} newcomers in {:?}", start.elapsed());
        assert!(
            evicted >= 5 && evicted as f64 <= allowed,
            "{budget}: {evicted} evictions, {allowed} allowed"
        );
        let open: u64 = tallies(rig, "open").iter().sum();
        assert!(open <= 51, "{budget}: {open} are open, over the limit by more than a quarter");
        assert!(admitted < 30, "{budget}: somebody had to be refused");
        if from_elsewhere > 0 {
            thread::sleep(TWO_PASSES);
            let mut other = Visitor::new(&sources, at("198.19.107.1"));
            assert_eq!(other.get("/pages/1", ""), 200);
            assert_eq!(
                watch.moved(rig, ControlCounter::FlowEvicted),
                evicted + 1,
                "another prefix has its own"
            );
        }
        let evicted = watch.moved(rig, ControlCounter::FlowEvicted);
        assert_eq!(reset_of(&mut ones) as u64, evicted);
    }
}

#[test]
fn a_flow_that_has_become_active_is_spared() {
    let Some((mut stage, sources)) = room_for(5, "min_age = \"0s\"\nidle_after = \"3s\"") else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let mut ones = of_priority(&sources, 1, 1..=4);
    for attempt in 0.. {
        thread::sleep(Duration::from_secs(3) + TWO_PASSES);
        // Listed as idle by now.
        let start = Instant::now();
        for one in &mut ones {
            assert_eq!(one.get("/pages/2", ""), 200);
        }
        let mut filler = Visitor::new(&sources, at("198.19.107.2"));
        assert_eq!(filler.get("/pages/1", ""), 200, "there is room for it");
        let mut newcomer = Visitor::new(&sources, at("198.19.105.1"));
        assert_eq!(newcomer.get("/pages/1", ""), 200);
        let spared = watch.moved(rig, ControlCounter::FlowEvicted) == 0;
        if start.elapsed() < Duration::from_secs(3) {
            assert!(spared, "a flow was evicted that was active {:?} ago", start.elapsed());
        }
        if spared && watch.moved(rig, ControlCounter::VictimChanged) > 0 {
            break;
        }
        // A pass came between, or the machine was busy.
        assert!(attempt < 3, "no listed flow was found changed");
        drop((filler, newcomer));
        eventually("both are gone", PATIENCE, || tallies(rig, "open")[5..] == [0, 0, 0]);
    }
    assert_eq!(reset_of(&mut ones), 0);
    watch.finish(rig);
}

const EVICTED: u64 = 10_000;
const OTHERS: u8 = 100;

/// Clients of the big one.
const MANY: &str = "\
198.19.16.0/20 * - 1
198.19.105.0/24 * - 5
198.19.107.0/24 * - 7
198.18.128.0/17 * - 6
";

#[test]
fn ten_thousand_flows_are_evicted_in_a_second_and_everyone_hears_of_it() {
    let admission = "\
connection_limit = 10200
load_bound = \"none\"
evictions_per_second = 20000
evictions_per_source = 20000
min_age = \"0s\"
idle_after = \"100ms\"";
    let web = Web { policy: "round-robin", members: MANY, admission, ..Web::default() };
    let Some(mut stage) = stage::with_web(&web) else { return };
    // The insider's connections stay at the servers.
    stage.leaves_changes();
    let (rig, peer) = stage.both();
    let sources = Sources::new(rig).unwrap();
    let watch = Watch::start(rig);
    let insider = Insider::new(rig, peer);
    let start = Instant::now();
    let address = |number: u64| SocketAddr::new(source_ipv4((16 << 8) + (number % 4096) as u16).into(), 0);
    let mut ones = arrive(&sources, (0..EVICTED).map(address));
    let mut better = of_priority(&sources, 5, 1..=OTHERS);
    better.extend(of_priority(&sources, 7, 1..=OTHERS));
    eprintln!("{} connections in {:?}", ones.len() + better.len(), start.elapsed());
    assert_eq!(tallies(rig, "open"), [0, EVICTED, 0, 0, 0, 100, 0, 100]);
    let sources_of_ones: Vec<SocketAddr> = ones.iter().map(|one| one.source).collect();
    assert_eq!(server_sockets(rig, &sources_of_ones), ones.len());
    thread::sleep(TWO_PASSES);
    let lost = lost_on_the_link(rig);
    let took = newcomers_until_all_are_evicted(rig, &insider, &watch);
    // A RST that the link loses is not repeated. Whoever missed it is reset by the next segment that it sends.
    let lost = lost_on_the_link(rig) - lost;
    let mut unheard: Vec<&mut Visitor> = ones.iter_mut().collect();
    eventually("every evicted client is reset", PATIENCE, || {
        unheard.retain_mut(|one| !one.is_reset(Duration::from_millis(1)));
        unheard.len() <= lost
    });
    for one in &mut unheard {
        one.ask("/pages/2", "").unwrap();
        assert!(one.is_reset(PATIENCE), "{}", one.source);
    }
    let sockets = || server_sockets(rig, &sources_of_ones);
    eventually("all their servers' sockets are gone", PATIENCE, || sockets() <= lost);
    eprintln!("{lost} frames lost on the link: {} RSTs to clients, {} to servers", unheard.len(), sockets());
    let admitted = tally(rig, 6, "admitted");
    eprintln!("{EVICTED} flows evicted in {took:?} for {admitted} newcomers");
    assert_eq!(tallies(rig, "evicted"), [0, EVICTED, 0, 0, 0, 0, 0, 0]);
    assert_eq!(tallies(rig, "open"), [0, 0, 0, 0, 0, 100, admitted, 100]);
    assert_eq!(admitted, EVICTED + watch.moved(rig, ControlCounter::VictimAbsent));
    // Those of 5 are the lowest now and wait behind the gate; nobody has touched them either.
    let (fives, sevens) = better.split_at_mut(usize::from(OTHERS));
    assert_eq!(reset_of(fives), 0);
    for visitor in sevens {
        assert_eq!(visitor.get("/pages/2", ""), 200, "{}", visitor.source);
    }
    watch.finish(rig);
}

/// Frames that the front-end sent and its link had no room for.
fn lost_on_the_link(rig: &Rig) -> usize {
    let text = rig.host("front").unwrap().run("cat /sys/class/net/eth0/statistics/tx_dropped");
    text.unwrap().trim().parse().unwrap()
}

/// Newcomers at a time: a link of the rig has room for 256 frames, and an eviction sends three.
const PORTION: usize = 200;

/// One first request each, in portions, until all flows of the lowest priority have given way. What the slow path's queue could not
/// hold is sent again, as clients do.
fn newcomers_until_all_are_evicted(rig: &Rig, insider: &Insider, watch: &Watch) -> Duration {
    let frame = |number: u32| {
        let source = SocketAddr::new(insider_address((number % 30_000) as u16).into(), 20_000);
        let flags = Flags::ACK.and(Flags::PSH);
        insider.frame(&insider.segment(source, 0, flags, b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n"))
    };
    let frames: Vec<Vec<u8>> = (0..15_000).map(frame).collect();
    let (start, mut sent) = (Instant::now(), 0);
    let evicted = || watch.moved(rig, ControlCounter::FlowEvicted);
    loop {
        let left = (EVICTED - evicted()) as usize;
        if left == 0 {
            return start.elapsed();
        }
        let portion = &frames[sent..sent + left.min(PORTION)];
        sent += portion.len();
        insider.send(portion);
        let mut sent_at = Instant::now();
        while tally(rig, 6, "admitted") < sent as u64 {
            if sent_at.elapsed() > Duration::from_millis(200) {
                insider.send(portion);
                sent_at = Instant::now();
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{} evicted", evicted());
        }
    }
}

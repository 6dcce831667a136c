//! Tests of the model, and the models that other tests of the front-end use.

use std::path::Path;

use dispatcher_common::choice::{DispatchRecord, further as place};
use dispatcher_core::{
    cluster::Health,
    http::{Head, parse_head},
    ids::ClassId,
    secret::Secret,
};

use super::*;
use crate::front::{
    admission::ledger::Ledger,
    dispatch::{Known, Onward},
    members,
};

/// Two servers, two services, three VIPs.
pub(in crate::front) fn config() -> FrontConfig {
    let text = r#"
        secret = "0123456789abcdef"
        interface = "eth0"
        [[server]]
        name = "server1"
        address = "198.18.0.11"
        [[server]]
        name = "server2"
        address = "198.18.0.12"
        [[service]]
        name = "web"
        vip = ["198.18.0.100", "2001:db8::100"]
        port = 80
        table = "sticky"
        classes = 4
        [[service]]
        name = "api"
        vip = ["198.18.0.101"]
        port = 80
        servers = ["server2"]
        policy = "round-robin"
        classes = 2
        priority = 5
    "#;
    FrontConfig::parse(text, "front.toml").unwrap()
}

pub(in crate::front) fn model() -> Model {
    model_of(&config())
}

pub(in crate::front) fn model_of(config: &FrontConfig) -> Model {
    let secret = Secret::new("0123456789abcdef").unwrap();
    let read = |service| members::read(service, &secret, Path::new("")).unwrap();
    let tables = config.services.iter().map(read).collect();
    let members = Arc::new(Members::new(config, &secret, tables));
    let admission = Arc::new(Admission::new(config, Ledger::in_memory()));
    Model::new(config, admission, members, Arc::default()).unwrap()
}

pub(in crate::front) fn report(server: &str, sequence: u64) -> Report {
    Report {
        server: server.into(),
        boot_id: 7,
        sequence,
        sent_at_ms: 1_000_000,
        queue: 0,
        load_us: 0,
        accepted: 0,
        connections: 0,
        cpu_permille: 250,
        listen_overflows: 0,
        classes: Vec::new(),
    }
}

pub(in crate::front) fn entry(last: u8) -> ServerEntry {
    ServerEntry { mac: [2, 0, 0, 0, 0, last], source_mac: [2, 0, 0, 0, 0, 1], usable: 1 }
}

fn dispatch(model: &Model, service: u16, path: &str) -> Option<Decision> {
    match judge(model, service, path) {
        Judgement::Dispatched(decision) => Some(decision),
        Judgement::NoServer => None,
        Judgement::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn head_of(path: &str) -> RequestHead<'static> {
    // A head lives as long as its bytes, of which tests need few.
    let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").leak();
    match parse_head(text.as_bytes(), 1000) {
        Head::Complete(head) => head,
        other => panic!("{other:?}"),
    }
}

fn judge(model: &Model, service: u16, path: &str) -> Judgement {
    model.dispatch(service, "198.18.0.1:40000".parse().unwrap(), &head_of(path))
}

#[test]
fn a_server_needs_a_report_and_a_mac_address() {
    let model = model();
    assert!(dispatch(&model, 0, "/").is_none());
    model.accept(&report("server2", 1), 1_000_000).unwrap();
    assert!(dispatch(&model, 0, "/").is_none());
    assert_eq!(model.lock().cluster.servers()[1].health(), Health::NoMac);
    model.set_entry(ServerId(1), entry(12));
    assert_eq!(dispatch(&model, 0, "/").unwrap().entry, entry(12));
    assert!(model.server(0).is_none());
    assert_eq!(model.server(1), Some(entry(12)));
}

#[test]
fn each_vip_leads_to_its_service() {
    let model = model();
    for (id, name) in ["server1", "server2"].into_iter().enumerate() {
        model.set_entry(ServerId(id as u16), entry(id as u8 + 11));
        model.accept(&report(name, 1), 1_000_000).unwrap();
    }
    for (vip, classes, priority) in [(0, 0..4, 3), (1, 0..4, 3), (2, 4..6, 5)] {
        let decision = dispatch(&model, vip, "/a").unwrap();
        assert!(classes.contains(&decision.class), "{decision:?}");
        assert_eq!(decision.priority, priority);
    }
    assert!(dispatch(&model, 3, "/a").is_none());
    assert_eq!(dispatch(&model, 2, "/a").unwrap().server, 1);
    assert_eq!(model.service(2).unwrap().config.name, "api");
}

#[test]
fn hits_are_counted_by_class_and_server() {
    let model = model();
    model.set_entry(ServerId(0), entry(11));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    let class = dispatch(&model, 0, "/a").unwrap().class;
    dispatch(&model, 1, "/a").unwrap();
    let expected = Tally { dispatched: 2, hits: 1, ..Tally::default() };
    let state = model.lock();
    assert_eq!((state.by_server[0], state.by_class[usize::from(class)]), (expected, expected));
    assert_eq!(state.policies[0].bound_server(ClassId(class)), Some(ServerId(0)));
}

/// Judges a further request of a flow that server 2 has, with a cookie if one is given.
fn further(model: &Model, path: &str, cookie: &str) -> Further {
    let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    let client = "198.18.0.1:40000".parse().unwrap();
    let flow = Flow { server: 1, class: 2, priority: 3, is_counted: false };
    match parse_head(text.as_bytes(), 1000) {
        Head::Complete(head) => model.further(0, client, &head, &flow),
        other => panic!("{other:?}"),
    }
}

fn onward(model: &Model, path: &str) -> Onward {
    match further(model, path, "a=b") {
        Further::Dispatched(onward) => onward,
        Further::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_further_request_goes_where_its_class_is_bound() {
    let model = model();
    model.set_entry(ServerId(0), entry(11));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    let first = dispatch(&model, 0, "/a").unwrap();
    assert!(first.per_request);
    model.set_entry(ServerId(1), entry(12));
    model.accept(&report("server2", 1), 1_000_000).unwrap();
    let known = Some(Known { owner: 0, target: first.known.unwrap().target, class: first.class });
    let expected = Onward { server: 0, class: first.class, priority: 3, known };
    assert_eq!(onward(&model, "/a"), expected);
    let counted = Tally { dispatched: 2, hits: 1, moved: 0, further: 1 };
    let state = model.lock();
    assert_eq!((state.by_server[0], state.by_class[usize::from(first.class)]), (counted, counted));
    drop(state);
    assert_eq!(model.admission().tallies(0).of(3).admitted(), 1, "no newcomer");
    assert_eq!(model.admission().entry(0).total(), 1);
}

#[test]
fn a_further_request_leaves_a_server_that_drains() {
    let model = model();
    for (id, name) in ["server1", "server2"].into_iter().enumerate() {
        model.set_entry(ServerId(id as u16), entry(id as u8 + 11));
        model.accept(&report(name, 1), 1_000_000).unwrap();
    }
    model.lock().cluster.set_draining(ServerId(1), true);
    for path in ["/a", "/b", "/c", "/d"] {
        assert_eq!(onward(&model, path).server, 0);
    }
}

#[test]
fn a_further_request_stays_where_only_first_ones_are_dispatched() {
    let mut config = config();
    config.services[0].per_request = false;
    let model = model_of(&config);
    model.set_entry(ServerId(0), entry(11));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    assert!(!dispatch(&model, 0, "/a").unwrap().per_request);
    assert_eq!(onward(&model, "/a").server, 1);
}

#[test]
fn a_further_request_that_nobody_can_take_stays_and_counts() {
    let model = model();
    let stays = onward(&model, "/a");
    assert_eq!((stays.server, stays.priority), (1, 3));
    assert_eq!(stays.class, model.services()[0].classes.classify(&head_of("/a")).0);
    assert_eq!(model.lock().by_server[1], Tally { dispatched: 1, further: 1, ..Tally::default() });
    let other = Flow { server: 1, class: 2, priority: 4, is_counted: false };
    let unknown = model.further(9, "198.18.0.1:40000".parse().unwrap(), &head_of("/a"), &other);
    let expected = Onward { server: 1, class: 2, priority: 4, known: None };
    assert_eq!(unknown, Further::Dispatched(expected));
}

#[test]
fn requests_without_a_decision_count_in_their_server_s_load() {
    let model = model();
    let load = || model.lock().cluster.servers()[1].load();
    let before = load();
    model.continued(1, 2);
    let two = load() - before;
    model.continued(1, 1);
    assert!(two > Duration::ZERO);
    assert_eq!((load() - before) * 2, two * 3);
}

/// A service that is overloaded from two connections on, with a server that reports.
fn model_for_two() -> Model {
    let text = r#"
        secret = "0123456789abcdef"
        interface = "eth0"
        [[server]]
        name = "server1"
        address = "198.18.0.11"
        [[service]]
        name = "web"
        vip = ["198.18.0.100"]
        port = 80
        [service.admission]
        connection_limit = 2
    "#;
    let model = model_of(&FrontConfig::parse(text, "front.toml").unwrap());
    model.set_entry(ServerId(0), entry(11));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    model
}

#[test]
fn a_further_request_may_raise_its_flow_or_be_refused_below_the_gate() {
    let model = model_for_two();
    model.members().add(0, "198.18.0.0/24 * plan=gold 6".parse().unwrap()).unwrap();
    model.members().add(0, "198.18.0.0/24 * plan=iron 2".parse().unwrap()).unwrap();
    let with = |plan| further(&model, "/a", plan);
    let priority = |further| match further {
        Further::Dispatched(Onward { priority, known, .. }) => (Some(priority), known),
        Further::Refused(_) => (None, None),
    };
    assert_eq!(priority(with("plan=gold")), (Some(6), None), "a cookie made the difference");
    assert_eq!(priority(with("plan=iron")), (Some(2), None));
    // Two flows are the limit, and of them the lower is below the gate.
    dispatch(&model, 0, "/a").unwrap();
    dispatch(&model, 0, "/a").unwrap();
    model.reprioritised(0, 3, 6);
    assert_eq!(model.admission().entry(0).open, [0, 0, 0, 1, 0, 0, 1, 0]);
    assert_eq!(model.admission().gate(0), 4);
    assert_eq!(priority(with("plan=iron")), (None, None));
    assert_eq!(priority(with("plan=tin")), (Some(3), None), "judged by the program, as the flow's own");
    assert_eq!(priority(with("plan=gold")), (Some(6), None));
}

#[test]
fn further_requests_of_the_program_admit_nobody() {
    let model = model();
    let further = place::ADDED;
    let record = DispatchRecord { class: 1, priority: 3, further, ..DispatchRecord::default() };
    model.lock().choices.note_as_the_program(&record);
    model.share();
    assert_eq!(model.lock().by_class[1].dispatched, 1);
    assert_eq!(model.admission().tallies(0).of(3).admitted(), 0);
}

#[test]
fn a_request_in_the_place_of_one_that_is_answered_adds_no_load() {
    let model = model();
    for (id, name) in ["server1", "server2"].into_iter().enumerate() {
        model.set_entry(ServerId(id as u16), entry(id as u8 + 11));
        model.accept(&report(name, 1), 1_000_000).unwrap();
    }
    let load = |server: usize| model.lock().cluster.servers()[server].load();
    let home = usize::from(dispatch(&model, 0, "/a").unwrap().server);
    let ask = |server: usize| {
        let client = "198.18.0.1:40000".parse().unwrap();
        let flow = Flow { server: server as u16, class: 2, priority: 3, is_counted: true };
        assert!(matches!(model.further(0, client, &head_of("/a"), &flow), Further::Dispatched(_)));
    };
    let before = load(home);
    ask(home);
    assert!(load(home) <= before, "in the place of the one before");
    let before = load(home);
    ask(1 - home);
    assert!(load(home) > before, "it comes from another server");
    let class = DispatchRecord { priority: 3, server: home as u16, ..DispatchRecord::default() };
    for (further, adds) in [(place::IN_PLACE, false), (place::ADDED, true)] {
        let before = load(home);
        model.lock().choices.note_as_the_program(&DispatchRecord { further, ..class });
        model.share();
        assert_eq!(load(home) > before, adds, "{further}");
    }
    assert_eq!(model.lock().by_server.iter().map(|tally| tally.further).sum::<u64>(), 4);
}

#[test]
fn what_nobody_decides_about_is_counted_by_server_and_not_as_dispatched() {
    let model = model();
    model.continued(1, 3);
    model.continued(1, 2);
    model.continued(9, 1);
    let state = model.lock();
    assert_eq!(state.undecided, [0, 5]);
    assert_eq!(state.by_server[1], Tally::default());
}

#[test]
fn the_program_s_dispatches_count_as_our_own() {
    let model = model();
    model.set_entry(ServerId(0), entry(11));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    let class = dispatch(&model, 0, "/a").unwrap().class;
    let record = DispatchRecord { work_us: 1000, class, priority: 3, ..DispatchRecord::default() };
    model.lock().choices.note_as_the_program(&record);
    model.share();
    let state = model.lock();
    let expected = Tally { dispatched: 2, hits: 1, ..Tally::default() };
    assert_eq!((state.by_server[0], state.by_class[usize::from(class)]), (expected, expected));
    drop(state);
    assert_eq!(model.admission().tallies(0).of(3).admitted(), 2);
    assert_eq!(model.admission().entry(0).open[3], 1, "the program counts its own as open");
}

#[test]
fn only_servers_that_may_be_chosen_are_published() {
    let model = model();
    let candidates = |owner| model.lock().choices.candidates(owner);
    model.set_entry(ServerId(0), entry(11));
    model.set_entry(ServerId(1), entry(12));
    assert!(candidates(0).is_empty(), "silent as yet");
    model.accept(&report("server2", 1), 1_000_000).unwrap();
    assert_eq!((candidates(0), candidates(1)), (vec![1], vec![1]));
    model.accept(&report("server1", 1), 1_000_000).unwrap();
    assert_eq!((candidates(0), candidates(1)), (vec![0, 1], vec![1]));
    model.set_entry(ServerId(1), ServerEntry::default());
    assert_eq!((candidates(0), candidates(1)), (vec![0], vec![]));
}

#[test]
fn an_overloaded_service_lets_in_who_is_better_than_the_lowest() {
    let model = model_for_two();
    let first = dispatch(&model, 0, "/a").unwrap();
    assert_eq!(dispatch(&model, 0, "/a").unwrap().evict_below, None);
    assert!(matches!(judge(&model, 0, "/a"), Judgement::Refused(_)), "equals do not make room");
    model.members().add(0, "198.18.0.0/24 * - 6".parse().unwrap()).unwrap();
    let better = dispatch(&model, 0, "/a").unwrap();
    assert_eq!((better.priority, better.evict_below), (6, Some(6)));
    model.evicted(0, first.priority);
    assert_eq!(model.admission().entry(0).open, [0, 0, 0, 1, 0, 0, 1, 0]);
    model.closed(0, 6);
    assert_eq!(dispatch(&model, 0, "/a").unwrap().evict_below, None);
}

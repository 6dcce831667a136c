//! Tests of the model, and the models that other tests of the front-end use.

use std::path::Path;

use dispatcher_common::choice::DispatchRecord;
use dispatcher_core::{
    cluster::Health,
    http::{Head, parse_head},
    ids::ClassId,
    secret::Secret,
};

use super::*;
use crate::front::{admission::ledger::Ledger, members};

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

fn judge(model: &Model, service: u16, path: &str) -> Judgement {
    let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let client = "198.18.0.1:40000".parse().unwrap();
    match parse_head(text.as_bytes(), 1000) {
        Head::Complete(head) => model.dispatch(service, client, &head),
        other => panic!("{other:?}"),
    }
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
    let expected = Tally { dispatched: 2, hits: 1, moved: 0 };
    let state = model.lock();
    assert_eq!((state.by_server[0], state.by_class[usize::from(class)]), (expected, expected));
    assert_eq!(state.policies[0].bound_server(ClassId(class)), Some(ServerId(0)));
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
    let expected = Tally { dispatched: 2, hits: 1, moved: 0 };
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

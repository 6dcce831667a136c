//! The main traffic with a second interface towards the servers.

use std::{io::Write, time::Duration};

use tests::{Rig, skipped, wire::Peer};

use crate::{
    curl, direct_return,
    echo::{ECHO_PORT, Echo},
    heads, stage,
    stage::FAMILIES,
    watch::Watch,
    wrk,
};

#[test]
fn a_front_end_with_two_arms_serves_like_one_with_one() {
    if skipped(&stage::test_name()) {
        return;
    }
    let mut rig = Rig::builder("e2e-arms").two_arm(true).start().unwrap();
    stage::start_agents(&mut rig);
    rig.start_front(&stage::front_options()).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    main_traffic(&mut rig);
}

#[test]
fn a_front_end_without_switches_serves_like_one_with() {
    if skipped(&stage::test_name()) {
        return;
    }
    let mut rig = Rig::builder("e2e-straight").straight().start().unwrap();
    rig.start_dispatcher(&stage::front_options()).unwrap();
    for family in FAMILIES {
        let paths: Vec<String> = (0..20).map(|i| format!("/pages/{i}")).collect();
        let urls: Vec<String> = paths.iter().map(|path| curl::url(&rig, family, path)).collect();
        for (reply, path) in curl::in_turn(&rig, &urls).iter().zip(&paths) {
            curl::check_text(reply, path);
        }
        wrk::run_clean(&rig, &curl::url(&rig, family, "/bytes/1k"), 1, false);
        wrk::run_clean(&rig, &curl::url(&rig, family, "/pages/1"), 1, true);
        direct_return::whole_file_bypasses_the_front_end(&rig, family);
    }
}

/// Every kind of traffic once, in both families.
pub(crate) fn main_traffic(rig: &mut Rig) {
    let watch = Watch::start(rig);
    let _echo = Echo::start(rig.host("server1").unwrap());
    let peer = Peer::new(rig).unwrap();
    for family in FAMILIES {
        let paths: Vec<String> = (0..100).map(|i| format!("/pages/{i}")).collect();
        let urls: Vec<String> = paths.iter().map(|path| curl::url(rig, family, path)).collect();
        for (reply, path) in curl::in_turn(rig, &urls).iter().zip(&paths) {
            curl::check_text(reply, path);
        }
        wrk::run_clean(rig, &curl::url(rig, family, "/bytes/1k"), 2, false);
        wrk::run_clean(rig, &curl::url(rig, family, "/pages/1"), 2, true);
        direct_return::whole_file_bypasses_the_front_end(rig, family);
        heads::in_many_segments(&peer, family);
        // A head in three full segments from a kernel, and one that gets an answer of our own.
        let request = format!("GET /echo HTTP/1.1\r\nHost: rig\r\nCookie: {}\r\n\r\n", "c".repeat(4000));
        let mut stream = heads::connect(rig, family, ECHO_PORT);
        stream.write_all(request.as_bytes()).unwrap();
        assert!(heads::read_body(&mut stream) == request.as_bytes(), "{family:?}");
        let reply = curl::get(rig, &curl::url(rig, family, "/pages/after"));
        curl::check_text(&reply, "/pages/after");
    }
    watch.finish(rig);
}

//! Reports that the front-end must not believe.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{SystemTime, UNIX_EPOCH},
};

use dispatcher_common::counter::ControlCounter;
use dispatcher_core::report::Report;
use tests::{Family, Rig};

use crate::{forgery::secret, stage, watch::Watch};

#[test]
fn forged_stale_and_unknown_reports_are_counted_and_change_nothing() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let key = secret(rig).report_key();
    let watch = Watch::start(rig);
    send(rig, &report("server1", 1).encode(&[7; 32]));
    watch.until(rig, ControlCounter::ReportBadTag, 1);
    send(rig, b"no report at all");
    watch.until(rig, ControlCounter::ReportBadTag, 2);
    send(rig, &report("server9", 1).encode(&key));
    watch.until(rig, ControlCounter::ReportUnknown, 1);
    let old = Report { sent_at_ms: 1, ..report("server1", 1) };
    send(rig, &old.encode(&key));
    watch.until(rig, ControlCounter::ReportStale, 1);
    for row in rig.show("front", "servers").unwrap() {
        assert_eq!(row["state"], "up", "{row}");
        assert!(row["load_us"].as_u64().unwrap() < 1_000_000_000, "{row}");
    }
    watch.finish(rig);
}

fn report(server: &str, sequence: u64) -> Report {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Report {
        server: server.to_owned(),
        boot_id: 1,
        sequence,
        sent_at_ms: u64::try_from(now.as_millis()).unwrap(),
        queue: 1000,
        load_us: 1_000_000_000,
        accepted: 0,
        connections: 0,
        cpu_permille: 0,
        listen_overflows: 0,
        classes: Vec::new(),
    }
}

fn send(rig: &Rig, datagram: &[u8]) {
    let front = SocketAddr::new(rig.plan().address("front", Family::V4), 7180);
    let server = rig.host("server1").unwrap();
    server.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(datagram, front).unwrap()).unwrap();
}

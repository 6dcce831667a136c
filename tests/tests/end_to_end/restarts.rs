//! Daemons that are killed and started anew: what is under way goes on, what is new is served again soon.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::{ControlCounter, FrontCounter};
use tests::{
    Family, Rig, Tracked, content,
    wire::{Flags, Offer},
};

use crate::{curl, stage, stage::FAMILIES, watch::Watch};

/// Served again within this time after the start.
const SERVED_AGAIN: Duration = Duration::from_secs(2);

#[test]
fn a_killed_control_plane_breaks_no_transfer_and_serves_again_within_two_seconds() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let transfers: Vec<_> = FAMILIES.map(|family| slow_transfer(rig, family)).into();
    thread::sleep(Duration::from_millis(700));
    rig.kill9("front").unwrap();
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    rig.restart("front").unwrap();
    served_again(rig, start);
    for (transfer, family) in transfers.into_iter().zip(FAMILIES) {
        finished(transfer, rig, family);
    }
    watch.finish(rig);
}

#[test]
fn requests_while_the_control_plane_is_away_are_served_when_it_is_back() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    // A head half collected when it dies is lost; the client hears of it at last by its own time-out.
    let mut half = peer.connection(Family::V4, 80, Offer::LINUX).unwrap();
    half.handshake().unwrap();
    half.send(b"GET / HTTP/1.1\r\nHo").unwrap();
    thread::sleep(Duration::from_millis(100));
    let watch = Watch::start(rig);
    rig.kill9("front").unwrap();
    let request = b"GET /pages/1 HTTP/1.1\r\nHost: rig\r\n\r\n";
    let mut connection = peer.connection(Family::V6, 80, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    connection.send(request).unwrap();
    connection.expect_silence(Duration::from_millis(200)).unwrap();
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(Duration::from_secs(5)).unwrap();
    half.send(b"st: rig\r\n\r\n").unwrap();
    connection.send_at(0, request).unwrap();
    assert_eq!(connection.response(Duration::from_secs(3)).unwrap().status, 200);
    watch.until(rig, FrontCounter::SlowPathAbsentDropped, 1);
    watch.until(rig, ControlCounter::PendingLost, 1);
    watch.finish(rig);
}

#[test]
fn a_killed_agent_breaks_no_transfer_and_serves_again_within_two_seconds() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    let transfers: Vec<_> = FAMILIES.map(|family| slow_transfer(rig, family)).into();
    thread::sleep(Duration::from_millis(700));
    for server in rig.plan().server_names() {
        rig.kill9(&server).unwrap();
    }
    // The programs go on without the agents: a request on a kept connection would be served now, too.
    thread::sleep(Duration::from_millis(600));
    let start = Instant::now();
    for server in rig.plan().server_names() {
        rig.restart(&server).unwrap();
    }
    served_again(rig, start);
    for (transfer, family) in transfers.into_iter().zip(FAMILIES) {
        finished(transfer, rig, family);
    }
    assert_eq!(watch.moved(rig, ControlCounter::FilterOrphaned), 0, "an agent's restart is no reboot");
    watch.finish(rig);
}

#[test]
fn the_filters_of_a_rebooted_server_are_dropped_and_its_clients_reset() {
    let Some(mut stage) = stage::shared() else { return };
    let (rig, peer) = stage.both();
    let watch = Watch::start(rig);
    let mut connection = peer.connection(Family::V4, 80, Offer::LINUX).unwrap();
    connection.handshake().unwrap();
    let server = connection.get("/pages/1").unwrap().server.unwrap();
    // A clean stop forgets the boot id like a reboot does.
    rig.stop(&server).unwrap();
    rig.start_back_with(&server, &stage::agent_options()).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(5)).unwrap();
    watch.until(rig, ControlCounter::FilterOrphaned, 1);
    connection.send(b"GET /pages/2 HTTP/1.1\r\nHost: rig\r\n\r\n").unwrap();
    connection.expect("a RST", |segment| segment.flags.has(Flags::RST), Duration::from_secs(2)).unwrap();
    watch.finish(rig);
}

#[test]
fn a_stopped_front_end_leaves_nothing_in_the_kernel() {
    let Some(mut stage) = stage::shared() else { return };
    stage.leaves_changes();
    let rig = stage.rig();
    for role in ["front", "server1"] {
        let pins = rig.plan().pin_path(role);
        assert!(pins.exists(), "{} is where {role} pins", pins.display());
        let status = rig.stop(role).unwrap();
        assert!(status.success(), "{role}: {status}");
        assert!(!pins.exists(), "{role} left {}", pins.display());
        assert!(!rig.plan().control_socket(role).exists(), "{role} left its control socket");
    }
    let links = rig.host("front").unwrap().run("ip -d link show dev eth0").unwrap();
    assert!(!links.contains("xdp"), "a program is still attached: {links}");
}

/// 100 MB at a rate that takes about four seconds, into a file of the rig's.
fn slow_transfer(rig: &Rig, family: Family) -> Tracked {
    let mut command = rig.host("client").unwrap().command("curl");
    command.args(["-sS", "-g", "-m", "40", "--limit-rate", "25M", "-o"]).arg(download(rig, family));
    command.arg(curl::url(rig, family, "/bytes/100m"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    rig.spawn("client", command).unwrap()
}

fn download(rig: &Rig, family: Family) -> std::path::PathBuf {
    rig.plan().run_dir().join(format!("client/{family:?}"))
}

fn finished(mut transfer: Tracked, rig: &Rig, family: Family) {
    let status = transfer.wait(Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{family:?}: the transfer broke: {status}");
    let path = download(rig, family);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bytes.len(), 100 << 20, "{family:?}");
    assert_eq!(content::first_difference(0, &bytes), None, "{family:?}");
}

fn served_again(rig: &Rig, start: Instant) {
    for family in FAMILIES {
        let url = curl::url(rig, family, "/pages/again");
        let mut last = String::new();
        let reply = loop {
            match curl::try_get(rig, &url, 1) {
                Ok(reply) if reply.status == 200 => break reply,
                Ok(reply) => last = format!("{reply:?}"),
                Err(error) => last = error,
            }
            assert!(
                start.elapsed() < SERVED_AGAIN,
                "{family:?}: not served after {:?}: {last}",
                start.elapsed()
            );
        };
        curl::check_text(&reply, "/pages/again");
        assert!(
            start.elapsed() < SERVED_AGAIN,
            "{family:?}: served only after {:?}: {last}",
            start.elapsed()
        );
    }
    eprintln!("served again after {:?}", start.elapsed());
}

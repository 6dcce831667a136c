//! Limits of sources: connections a second and open connections of a prefix, in the kernel's program, without harm to others.

use std::{
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use dispatcher_common::counter::FrontCounter;
use tests::Sources;

use crate::{
    accounts::why_steps,
    crowd::{PATIENCE, SILENCE, Visitor, arrive, at, eventually, tallies},
    stage::{self, Web},
    watch::Watch,
};

fn limited(admission: &str) -> Option<(stage::Stage, Sources)> {
    let mut stage = stage::with_web(&Web { admission, ..Web::default() })?;
    let sources = Sources::new(stage.rig()).unwrap();
    Some((stage, sources))
}

#[test]
fn a_source_that_connects_too_often_is_ignored_and_others_are_served() {
    let Some((mut stage, sources)) = limited("connections_per_second = 10") else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for [quick, slow] in [["198.19.6.1", "198.19.6.2"], ["2001:db8:1:6::1", "2001:db8:1:7::1"]] {
        let start = Instant::now();
        let mut served = 0.0;
        let mut refused = 0;
        for _ in 0..40 {
            match Visitor::try_new(&sources, at(quick), Duration::from_millis(60)) {
                Ok(mut visitor) => {
                    visitor.stream.set_read_timeout(Some(SILENCE)).unwrap();
                    served += f64::from(u8::from(visitor.try_get("/pages/1", "").is_ok()));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{quick}: {error}");
                    refused += 1;
                }
            }
        }
        let took = start.elapsed().as_secs_f64();
        eprintln!("{quick}: {served} served and {refused} refused in {took:.2} s");
        assert!(served >= 10.0 && served <= 11.0 + 10.0 * took, "{quick}: {served} in {took} s");
        assert!(refused > 0, "{quick} was never refused");
        assert_eq!(Visitor::new(&sources, at(slow)).get("/pages/1", ""), 200, "another source");
        // A second later it may come again.
        thread::sleep(Duration::from_millis(1200));
        assert_eq!(Visitor::new(&sources, at(quick)).get("/pages/1", ""), 200);
    }
    assert!(tallies(rig, "limited")[3] >= watch.moved(rig, FrontCounter::SourceLimitedDropped));
    watch.finish(rig);
}

#[test]
fn a_source_with_too_many_open_connections_is_reset_until_one_is_closed() {
    let settings = "open_connections = 5\nsource_prefix_ipv4 = 24\nsource_refusal = \"reset\"";
    let Some((mut stage, sources)) = limited(settings) else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for [prefix, other] in [["198.19.6.", "198.19.7.1"], ["2001:db8:1:6::", "2001:db8:1:7::1"]] {
        // The whole prefix is one source.
        let from = |host: u8| at(&format!("{prefix}{host}"));
        let mut kept = arrive(&sources, (1..=4).map(from));
        // One that has shaken hands is not open before its first request.
        let [mut early, mut late] = [5, 6].map(|host| Visitor::new(&sources, from(host)));
        assert_eq!(early.get("/pages/1", ""), 200);
        late.ask("/pages/1", "").unwrap();
        assert!(late.is_reset(PATIENCE), "{prefix}: limited at its first request");
        let error = Visitor::try_new(&sources, from(7), PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{prefix}");
        let address = from(7).ip();
        let steps = why_steps(rig, &std::net::SocketAddr::new(address, 999).to_string(), &["no=1"]);
        assert!(steps["source"].starts_with("refused (reset)"), "{steps:?}");
        assert_eq!(Visitor::new(&sources, at(other)).get("/pages/1", ""), 200, "another source");
        kept.remove(0);
        let mut next = None;
        eventually("one may come in the place of the one that went", PATIENCE, || {
            next = Visitor::try_new(&sources, from(8), PATIENCE).ok();
            next.is_some()
        });
        assert_eq!(next.unwrap().get("/pages/1", ""), 200);
    }
    // At the SYN and at the first request.
    watch.until(rig, FrontCounter::SourceLimitedReset, 4);
    assert!(tallies(rig, "limited")[3] >= 4);
    watch.finish(rig);
}

#[test]
fn the_count_of_a_sources_open_connections_is_right_after_a_restart() {
    let Some((mut stage, sources)) = limited("open_connections = 5\nsource_refusal = \"reset\"") else {
        return;
    };
    let rig = stage.rig();
    let mut kept = arrive(&sources, [at("198.19.6.1"); 5]);
    // A response may be here before the filter of its flow is written; killed between, the front-end would forget the flow.
    thread::sleep(SILENCE);
    rig.kill9("front").unwrap();
    rig.restart("front").unwrap();
    rig.wait_until_servers_up(PATIENCE).unwrap();
    let refused = || Visitor::try_new(&sources, at("198.19.6.1"), PATIENCE).is_err();
    assert!(refused());
    thread::sleep(Duration::from_millis(2300));
    assert!(refused(), "the census agrees");
    kept.truncate(2);
    eventually("there is room for three", PATIENCE, || !refused());
    eventually("three come in", PATIENCE, || {
        if let Ok(mut visitor) = Visitor::try_new(&sources, at("198.19.6.1"), PATIENCE)
            && visitor.try_get("/pages/1", "").is_ok()
        {
            kept.push(visitor);
        }
        kept.len() == 5
    });
    // A pass over the filter-table that began before has counted them too low; the next one has not.
    eventually("it is full again", PATIENCE, refused);
}

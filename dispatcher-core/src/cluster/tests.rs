//! Tests of the cluster model: no dispatch counted twice or lost, freshness of reports, silence and boots.

use proptest::prelude::*;

use super::*;
use crate::report::ClassReport;

const PERIOD: Duration = Duration::from_millis(100);
const WALL_MS: u64 = 1_800_000_000_000;
const S0: ServerId = ServerId(0);
const A: ClassId = ClassId(0);
const B: ClassId = ClassId(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(["s0".to_owned(), "s1".to_owned()], 2, PERIOD);
    cluster.set_mac_known(S0, true);
    cluster.set_mac_known(ServerId(1), true);
    cluster
}

fn report(sequence: u64, accepted: u64, held: [u32; 2]) -> Report {
    let class = |class: u16| ClassReport { class, held: held[usize::from(class)], service_us: 500 };
    Report {
        server: "s0".into(),
        boot_id: 1,
        sequence,
        sent_at_ms: WALL_MS,
        queue: held[0] + held[1],
        load_us: 0,
        accepted,
        connections: 4,
        cpu_permille: 0,
        listen_overflows: 0,
        classes: vec![class(0), class(1)],
    }
}

#[test]
fn own_dispatches_count_at_once_and_leave_with_the_report_that_includes_them() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 10, [0, 0]), ms(0), WALL_MS).unwrap();
    (0..3).for_each(|i| cluster.dispatched(S0, A, ms(10 + i)));
    cluster.dispatched(S0, B, ms(20));
    let server = cluster.server(S0).unwrap();
    assert_eq!((server.queue(), server.held(A), server.held(B)), (4, 3, 1));
    assert_eq!((server.load(), server.reported_held(A)), (Duration::from_micros(2000), 0));
    // Two of the four had arrived when the server wrote its report; one of them was done.
    cluster.accept(&report(2, 12, [1, 0]), ms(50), WALL_MS).unwrap();
    let server = cluster.server(S0).unwrap();
    assert_eq!((server.queue(), server.held(A), server.held(B), server.outstanding()), (3, 2, 1, 2));
    assert_eq!(server.load(), Duration::from_micros(1500));
}

#[test]
fn a_server_works_off_what_it_holds_between_reports() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 10, [2, 0]), ms(0), WALL_MS).unwrap();
    (0..4).for_each(|_| cluster.dispatched(S0, A, ms(0)));
    for (now_us, load_us, queue) in
        [(0, 3000, 6), (600, 2400, 6), (1000, 2000, 6), (1700, 1300, 5), (3000, 0, 2)]
    {
        cluster.advance(Duration::from_micros(now_us));
        let server = cluster.server(S0).unwrap();
        assert_eq!(
            (server.load(), server.queue()),
            (Duration::from_micros(load_us), queue),
            "at {now_us} µs"
        );
    }
    // Idle time is not saved up.
    cluster.advance(ms(50));
    cluster.dispatched(S0, A, ms(50));
    assert_eq!(cluster.server(S0).unwrap().load(), Duration::from_micros(500));
    // The report counts only three of the five tickets: two are still on their way, whatever we believed.
    cluster.advance(ms(60));
    cluster.accept(&report(2, 13, [1, 0]), ms(60), WALL_MS).unwrap();
    let server = cluster.server(S0).unwrap();
    assert_eq!((server.queue(), server.outstanding(), server.load()), (3, 2, Duration::from_micros(1500)));
}

#[test]
fn requests_on_kept_connections_count_until_the_next_report() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 10, [0, 0]), ms(0), WALL_MS).unwrap();
    let mean = cluster.mean_service_time();
    cluster.continued(S0, 3);
    assert_eq!(cluster.server(S0).unwrap().load(), 3 * mean);
    cluster.advance(mean);
    assert_eq!(cluster.server(S0).unwrap().load(), 2 * mean);
    cluster.accept(&report(2, 10, [0, 0]), ms(100), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().load(), Duration::ZERO);
}

#[test]
fn a_dispatch_whose_ticket_never_arrived_leaves_by_age() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 10, [0, 0]), ms(0), WALL_MS).unwrap();
    cluster.dispatched(S0, A, ms(10));
    cluster.accept(&report(2, 10, [0, 0]), ms(100), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().outstanding(), 1);
    cluster.accept(&report(3, 10, [0, 0]), ms(200), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().outstanding(), 0);
}

#[test]
fn a_reloaded_server_program_counts_tickets_from_zero_without_harm() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 1000, [0, 0]), ms(0), WALL_MS).unwrap();
    cluster.dispatched(S0, A, ms(90));
    cluster.accept(&report(2, 0, [0, 0]), ms(100), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().outstanding(), 1);
    cluster.accept(&report(3, 1, [0, 0]), ms(110), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().outstanding(), 0);
}

#[test]
fn requests_that_no_class_lists_count_with_the_mean_service_time() {
    let mut cluster = cluster();
    let mut report = report(1, 0, [2, 0]);
    report.queue = 5;
    cluster.accept(&report, ms(0), WALL_MS).unwrap();
    assert_eq!(cluster.server(S0).unwrap().load(), Duration::from_micros(2500));
}

#[test]
fn old_foreign_and_untimely_reports_are_refused() {
    let mut cluster = cluster();
    cluster.accept(&report(5, 0, [0, 0]), ms(0), WALL_MS).unwrap();
    for sequence in [5, 4] {
        let refused = cluster.accept(&report(sequence, 0, [0, 0]), ms(1), WALL_MS).unwrap_err();
        assert!(matches!(refused, ReportRefused::OldSequence { last: 5, .. }), "{refused}");
    }
    for now in [WALL_MS - MAX_CLOCK_DIFFERENCE_MS - 1, WALL_MS + MAX_CLOCK_DIFFERENCE_MS + 1] {
        let refused = cluster.accept(&report(6, 0, [0, 0]), ms(1), now).unwrap_err();
        assert!(
            matches!(refused, ReportRefused::ClockDifference { difference_ms: 120_001, .. }),
            "{refused}"
        );
    }
    let foreign = Report { server: "s9".into(), ..report(6, 0, [0, 0]) };
    let refused = cluster.accept(&foreign, ms(1), WALL_MS).unwrap_err();
    assert_eq!((&refused, refused.is_stale()), (&ReportRefused::UnknownServer("s9".into()), false));
}

#[test]
fn a_boot_clears_the_account_and_its_old_reports_cannot_return() {
    let mut cluster = cluster();
    cluster.accept(&report(5, 7, [1, 0]), ms(0), WALL_MS).unwrap();
    cluster.dispatched(S0, A, ms(1));
    let booted = Report { boot_id: 2, ..report(1, 0, [0, 0]) };
    let accepted = cluster.accept(&booted, ms(2), WALL_MS).unwrap();
    assert!(accepted.rebooted && !accepted.returned);
    assert_eq!(cluster.server(S0).unwrap().queue(), 0);
    let refused = cluster.accept(&report(6, 8, [0, 0]), ms(3), WALL_MS).unwrap_err();
    assert_eq!(refused, ReportRefused::OldBoot { server: "s0".into() });
}

#[test]
fn a_boot_while_the_front_end_was_down_is_noticed() {
    let mut cluster = cluster();
    cluster.assume_boot(S0, 77);
    assert!(cluster.accept(&report(5, 7, [0, 0]), ms(0), WALL_MS).unwrap().rebooted);
    let mut same = self::cluster();
    same.assume_boot(S0, 1);
    assert!(!same.accept(&report(5, 7, [0, 0]), ms(0), WALL_MS).unwrap().rebooted);
}

#[test]
fn three_silent_periods_take_a_server_out_and_a_report_brings_it_back() {
    let mut cluster = cluster();
    assert_eq!(cluster.server(S0).unwrap().health(), Health::Silent);
    assert!(cluster.accept(&report(1, 0, [0, 0]), ms(0), WALL_MS).unwrap().returned);
    assert_eq!(cluster.tick(ms(300)), []);
    assert_eq!(cluster.server(S0).unwrap().health(), Health::Up);
    assert_eq!(cluster.tick(ms(301)), [S0]);
    assert_eq!(cluster.tick(ms(400)), []);
    assert_eq!(cluster.view(&[S0]).iter().count(), 0);
    assert!(cluster.accept(&report(2, 0, [0, 0]), ms(500), WALL_MS).unwrap().returned);
    assert!(cluster.view(&[S0]).get(S0).is_some());
}

#[test]
fn draining_and_a_missing_mac_take_a_server_out_of_the_view() {
    let mut cluster = cluster();
    cluster.accept(&report(1, 0, [0, 0]), ms(0), WALL_MS).unwrap();
    cluster.set_mac_known(S0, false);
    assert_eq!(cluster.server(S0).unwrap().health().name(), "no-mac");
    assert!(cluster.view(&[S0]).get(S0).is_none());
    cluster.set_mac_known(S0, true);
    assert!(cluster.view(&[ServerId(1)]).get(S0).is_none());
    cluster.set_draining(S0, true);
    assert_eq!(cluster.server(S0).unwrap().health().name(), "draining");
    assert!(cluster.view(&[S0]).get(S0).is_none());
}

#[test]
fn a_report_names_the_classes_that_it_touches() {
    let mut cluster = cluster();
    assert_eq!(cluster.accept(&report(1, 0, [1, 0]), ms(0), WALL_MS).unwrap().classes, [A]);
    assert_eq!(cluster.accept(&report(2, 0, [0, 1]), ms(1), WALL_MS).unwrap().classes, [A, B]);
    assert_eq!(cluster.accept(&report(3, 0, [0, 0]), ms(2), WALL_MS).unwrap().classes, [B]);
}

proptest! {
    #[test]
    fn no_order_of_dispatches_and_reports_panics_or_leaves_an_account_open(
        steps in prop::collection::vec((0_u8..4, 0_u16..4, any::<u32>(), any::<u64>()), 0..60),
    ) {
        let mut cluster = cluster();
        for (i, (kind, class, held, accepted)) in steps.into_iter().enumerate() {
            let now = ms(i as u64 * 30);
            match kind {
                0 => cluster.dispatched(S0, ClassId(class), now),
                1 => cluster.advance(now),
                2 => {
                    let classes = vec![ClassReport { class, held, service_us: held }];
                    let report = Report { queue: held, classes, ..report(i as u64 + 1, accepted, [0, 0]) };
                    cluster.accept(&report, now, WALL_MS).unwrap();
                }
                _ => drop(cluster.tick(now)),
            }
            let server = cluster.server(S0).unwrap();
            prop_assert!(server.queue() >= server.outstanding());
        }
        cluster.accept(&report(1000, 0, [0, 0]), ms(10_000), WALL_MS).unwrap();
        prop_assert_eq!(cluster.server(S0).unwrap().queue(), 0);
        prop_assert_eq!(cluster.server(S0).unwrap().load(), Duration::ZERO);
    }
}

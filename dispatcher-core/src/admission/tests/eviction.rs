//! Who gives way, in which order, and how many: views, adjusting, ranking, lists and budgets.

use std::cmp::Reverse;

use dispatcher_common::admission::{AdmissionEntry, NONE_READY};
use proptest::prelude::*;

use super::*;

const OVERLOADED: Pressure = Pressure {
    overloaded: true,
    causes: Causes { load: true, connections: false, cpu: false, listen_overflows: false },
    closed_below: 8,
};

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_view_has_what_the_filter_says_of_an_established_flow() {
    let filter = answered(5, 10 * SECOND_NS, 12 * SECOND_NS);
    let flow = FlowView::of(&filter, 20 * SECOND_NS).unwrap();
    let expected =
        FlowView { priority: priority(5), age: secs(10), idle: secs(8), waiting: None, delay: Some(secs(2)) };
    assert_eq!(flow, expected);
    let flow = FlowView::of(&waiting(5, 10 * SECOND_NS), 20 * SECOND_NS).unwrap();
    assert_eq!((flow.waiting, flow.delay), (Some(secs(10)), None));
    // The kernel's clock may be ahead of ours.
    assert_eq!(FlowView::of(&filter, 0).unwrap().age, Duration::ZERO);
    for state in [state::PENDING, state::CLOSING, state::ANSWERED, 0] {
        assert_eq!(FlowView::of(&Filter { state, ..filter }, 20 * SECOND_NS), None);
    }
}

#[test]
fn priorities_are_adjusted_by_silence_and_waiting_only_while_overloaded() {
    let settings =
        AdjustSettings { idle_levels: 2, delay_levels: 3, idle_step: secs(10), delay_step: secs(1) };
    let flow = |level, idle, waiting: Option<u64>, delay: Option<u64>| FlowView {
        priority: priority(level),
        age: secs(100),
        idle: secs(idle),
        waiting: waiting.map(secs),
        delay: delay.map(secs),
    };
    for (flow, expected) in [
        (flow(5, 9, None, Some(0)), 5),
        (flow(5, 10, None, Some(0)), 4),
        (flow(5, 99, None, Some(0)), 3),
        (flow(1, 99, None, Some(0)), 0),
        (flow(5, 99, Some(0), None), 5),
        (flow(5, 99, Some(1), None), 6),
        (flow(5, 99, Some(9), None), 7),
        (flow(2, 99, Some(9), None), 5),
        (flow(5, 0, None, Some(2)), 7),
        (flow(5, 20, None, Some(1)), 4),
    ] {
        assert_eq!(adjusted(&flow, &settings, OVERLOADED), priority(expected), "{flow:?}");
        assert_eq!(adjusted(&flow, &settings, Pressure::default()), flow.priority);
        assert_eq!(adjusted(&flow, &AdjustSettings::default(), OVERLOADED), flow.priority);
    }
}

#[test]
fn idle_flows_go_before_waiting_ones_and_responses_are_finished() {
    let settings = EvictionSettings::default();
    let at = |filter: &Filter| rank(&FlowView::of(filter, 100 * SECOND_NS).unwrap(), &settings);
    assert_eq!(at(&answered(0, 10 * SECOND_NS, 20 * SECOND_NS)), Some(Rank::Idle(Reverse(secs(80)))));
    assert_eq!(at(&waiting(0, 90 * SECOND_NS)), Some(Rank::Waiting(secs(10))));
    let responding = answered(0, 50 * SECOND_NS, 100 * SECOND_NS - 999_999_999);
    assert_eq!(at(&responding), None);
    assert_eq!(at(&waiting(0, 100 * SECOND_NS - 249_999_999)), None, "too young");
    let all = EvictionSettings { mid_response: true, ..settings };
    let view = FlowView::of(&responding, 100 * SECOND_NS).unwrap();
    assert_eq!(rank(&view, &all), Some(Rank::Responding(secs(50))));
    assert!(Rank::Idle(Reverse(secs(9))) < Rank::Idle(Reverse(secs(8))));
    assert!(Rank::Idle(Reverse(secs(1))) < Rank::Waiting(secs(1)));
    assert!(Rank::Waiting(secs(1)) < Rank::Waiting(secs(2)));
    assert!(Rank::Waiting(secs(2)) < Rank::Responding(secs(1)));
}

#[test]
fn victims_come_by_priority_then_rank_and_never_from_the_newcomers_own() {
    let mut collector = collector();
    let filters = [
        waiting(2, 10 * SECOND_NS),
        waiting(2, 20 * SECOND_NS),
        answered(2, SECOND_NS, 30 * SECOND_NS),
        answered(2, SECOND_NS, 20 * SECOND_NS),
        answered(4, SECOND_NS, 2 * SECOND_NS),
        Filter { state: state::CLOSING, ..waiting(0, SECOND_NS) },
        answered(0, SECOND_NS, 100 * SECOND_NS),
    ];
    let now_ns = 100 * SECOND_NS;
    (0..).zip(&filters).for_each(|(i, filter)| collector.offer(numbered(i), filter, now_ns));
    let mut victims = collector.finish();
    assert_eq!((victims.len(), victims.lowest_ready()), (5, 2));
    assert_eq!(victims.take(priority(2)), None);
    let mut order = |below| victims.take(priority(below)).map(|victim| victim.key);
    assert_eq!(
        [order(3), order(3), order(3), order(4), order(4), order(5), order(7)],
        [Some(3), Some(2), Some(1), Some(0), None, Some(4), None].map(|i: Option<u32>| i.map(numbered))
    );
    assert!(victims.is_empty());
    assert_eq!(victims.lowest_ready(), NONE_READY);
}

#[test]
fn a_flow_that_was_lowered_is_listed_where_it_is_now() {
    let adjusting = AdjustSettings { idle_levels: 2, ..AdjustSettings::default() };
    let mut collector = VictimCollector::new(&EvictionSettings::default(), &adjusting, OVERLOADED);
    collector.offer(numbered(1), &answered(5, SECOND_NS, 2 * SECOND_NS), 100 * SECOND_NS);
    let mut victims = collector.finish();
    assert_eq!(victims.lowest_ready(), 3);
    let victim = victims.take(priority(5)).unwrap();
    assert_eq!((victim.priority, victim.adjusted), (priority(5), priority(3)));
}

#[test]
fn a_flow_that_changed_since_it_was_listed_is_spared() {
    let filter = Filter { packets: 3, ..waiting(0, SECOND_NS) };
    let mut collector = collector();
    collector.offer(numbered(1), &filter, 100 * SECOND_NS);
    let victim = collector.finish().take(priority(1)).unwrap();
    assert!(victim.was_waiting && victim.is_unchanged(&filter));
    assert!(victim.is_unchanged(&Filter { noted_isn: 7, ..filter }));
    for changed in [
        Filter { packets: 4, ..filter },
        Filter { created_ns: 2, ..filter },
        Filter { state: state::CLOSING, ..filter },
        Filter { response_ns: SECOND_NS, ..filter },
    ] {
        assert!(!victim.is_unchanged(&changed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn lists_keep_those_that_go_first_whatever_the_order_of_the_pass(
        ages in proptest::collection::hash_set(1_u64..1_000_000_000, READY_PER_PRIORITY + 500),
    ) {
        let ages: Vec<_> = ages.into_iter().collect();
        let now_ns = 10 * SECOND_NS;
        let mut collector = collector();
        for (i, age) in (0..).zip(&ages) {
            collector.offer(numbered(i), &waiting(3, now_ns - SECOND_NS - age), now_ns);
        }
        let mut victims = collector.finish();
        prop_assert_eq!(victims.len(), READY_PER_PRIORITY);
        let mut youngest = ages;
        youngest.sort_unstable();
        for age in &youngest[..READY_PER_PRIORITY] {
            prop_assert_eq!(victims.take(priority(7)).unwrap().created_ns, now_ns - SECOND_NS - age);
        }
    }

    #[test]
    fn budgets_hold_over_any_time(
        per_second in 0_u32..200, per_source in 0_u32..100,
        newcomers in proptest::collection::vec((0_u64..20, 0_u8..3), 1..3000),
    ) {
        let settings = EvictionSettings { per_second, per_source, ..EvictionSettings::default() };
        let (mut budget, mut now) = (EvictionBudget::new(&settings), secs(1000));
        let start = now;
        let (mut taken, mut by_source) = (0_u128, [0_u128; 3]);
        for (gap_ms, source) in newcomers {
            now += Duration::from_millis(gap_ms);
            let host = IpAddr::from([10, 0, source, gap_ms as u8]);
            if budget.take(now, host).is_ok() {
                taken += 1;
                by_source[usize::from(source)] += 1;
            }
        }
        // With a second's worth to begin with.
        let most = |rate: u32| u128::from(rate) * ((now - start).as_millis() + 1000) / 1000;
        prop_assert!(taken <= most(per_second), "{} of {}", taken, most(per_second));
        by_source.iter().for_each(|taken| assert!(*taken <= most(per_source)));
    }
}

#[test]
fn a_budget_says_whose_it_is_and_takes_nothing_when_it_refuses() {
    let settings = EvictionSettings { per_second: 3, per_source: 2, ..EvictionSettings::default() };
    let mut budget = EvictionBudget::new(&settings);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let now = secs(10);
    assert_eq!(budget.take(now, ip("10.0.0.1")), Ok(()));
    assert_eq!(budget.take(now, ip("::ffff:10.0.0.2")), Ok(()));
    assert_eq!(budget.take(now, ip("10.0.0.3")), Err(OverBudget::Source));
    assert_eq!(budget.take(now, ip("2001:db8::1")), Ok(()));
    assert_eq!(budget.take(now, ip("2001:db8:1::1")), Err(OverBudget::Service));
    assert_eq!(budget.take(now + Duration::from_millis(334), ip("2001:db8:0:1::1")), Ok(()));
    let none = EvictionSettings { per_second: 0, ..settings };
    assert_eq!(EvictionBudget::new(&none).take(now, ip("10.0.0.1")), Err(OverBudget::Service));
}

#[test]
fn sources_beyond_the_bound_share_one_budget_until_others_are_quiet() {
    let settings = EvictionSettings { per_second: 1_000_000, per_source: 1, ..EvictionSettings::default() };
    let mut budget = EvictionBudget::new(&settings);
    let source = |i: usize| IpAddr::from([10, (i >> 8) as u8, i as u8, 1]);
    for i in 0..MAX_PREFIXES {
        assert_eq!(budget.take(secs(10), source(i)), Ok(()));
    }
    assert_eq!(budget.take(secs(10), source(MAX_PREFIXES)), Ok(()));
    assert_eq!(budget.take(secs(10), source(MAX_PREFIXES + 1)), Err(OverBudget::Source));
    for i in 0..10 {
        assert_eq!(budget.take(secs(20), source(MAX_PREFIXES + 2 + i)), Ok(()));
    }
}

#[test]
fn the_data_plane_is_told_the_limits_of_sources() {
    let sources = SourceLimits {
        connections_per_second: 50,
        open_connections: 7,
        prefix_ipv4: 24,
        prefix_ipv6: 48,
        way: Way::Reset,
    };
    let entry = AdmissionSettings { sources, ..AdmissionSettings::default() }.entry();
    assert_eq!((entry.source_interval_ns, entry.source_open), (20_000_000, 7));
    let source = |client: &str| entry.source(&key(client.parse().unwrap()).client, 0).prefix;
    assert_eq!(source("198.18.7.9:1"), source("198.18.7.250:1"));
    assert_ne!(source("198.18.7.9:1"), source("198.18.8.9:1"));
    assert_eq!(source("[2001:db8:1::9]:1"), source("[2001:db8:1:2::]:1"));
    assert_ne!(source("[2001:db8:1::9]:1"), source("[2001:db8:2::9]:1"));
    let open = AdmissionSettings::default();
    assert_eq!((open.entry().source_interval_ns, open.sources.is_limited()), (0, false));
    assert!(sources.is_limited() && !open.entry().is_overloaded());
    let everyone = SourceLimits { prefix_ipv4: 0, prefix_ipv6: 0, ..sources };
    let entry = AdmissionSettings { sources: everyone, ..open }.entry();
    assert_eq!(entry.source_masks[1], [0, 0]);
    assert_ne!(entry.source_masks[0], [0, 0], "IPv4 as a whole is not IPv6 as a whole");
}

#[test]
fn the_gate_shuts_out_the_lowest_priority_but_never_everybody() {
    let entry = |overloaded, open| AdmissionEntry { overloaded, limit: u64::MAX, open, ..Default::default() };
    assert_eq!(gate(&entry(1, [0, 3, 0, 1, 0, 0, 0, 1])), 2);
    assert_eq!(gate(&entry(1, [u64::MAX, 0, 0, 1, 0, 0, 0, 1])), 4);
    assert_eq!(gate(&entry(0, [0, 3, 0, 1, 0, 0, 0, 1])), 0);
    assert_eq!(gate(&entry(1, [0, 0, 0, 9, 0, 0, 0, 0])), 0, "all are equals");
    assert_eq!(gate(&entry(1, [0; 8])), 0);
}

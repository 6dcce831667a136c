//! What holds for every policy, whatever happens: only eligible servers, no panic, the same choices for the same seed, and
//! that every eligible server is reached.

use proptest::prelude::*;

use super::*;

/// One report, one change of who is in, one choice.
type Step = (u16, [u32; 4], [u32; 4], u16, Option<u64>, u8);

const TABLES: [TableKind; 4] =
    [TableKind::Faithful, TableKind::Sticky, TableKind::Replicated, TableKind::Weighted];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let load = || prop_oneof![any::<[u32; 4]>(), [0_u32..200, 0_u32..200, 0_u32..3, 0_u32..3]];
    let target = prop::option::of(prop_oneof![any::<u64>(), 0_u64..6]);
    prop::collection::vec((0_u16..3, load(), load(), 0_u16..6, target, any::<u8>()), 1..40)
}

fn settings() -> impl Strategy<Value = PolicySettings> {
    let tables = prop::sample::select(&TABLES);
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), 0_u32..4, any::<u8>(), 0_u16..4);
    (prop::sample::select(NAMES), tables, numbers).prop_map(
        |(name, table, (n, t_low, t_high, targets, percent, pool))| PolicySettings {
            table,
            load_threshold: Some(LoadThreshold::Requests(n)),
            lard: LardSettings {
                t_low,
                t_high: t_high % 300,
                max_targets: targets,
                set_timeout: Duration::ZERO,
            },
            balance_factor_percent: n,
            prequal: PrequalSettings { rif_quantile_percent: percent, pool },
            ..named(name)
        },
    )
}

/// Makes the step and gives who was eligible and who was chosen.
fn make(bench: &mut Bench, step: &Step) -> (Vec<u16>, Option<u16>) {
    let &(id, held, service_us, class, target, bits) = step;
    bench.report(id, held, service_us);
    for id in 0..3 {
        bench.drain(id, bits >> id & 1 != 0);
        bench.cluster.set_mac_known(ServerId(id), bits >> (id + 3) & 1 == 0);
    }
    let eligible = bench.cluster.view(&bench.ids).iter().map(|server| server.id().0).collect();
    let chosen = bench.peek(ClassId(class), target).map(|choice| choice.0);
    if let Some(server) = chosen {
        bench.cluster.dispatched(ServerId(server), ClassId(class), bench.now);
    }
    (eligible, chosen)
}

proptest! {
    #[test]
    fn no_load_makes_a_policy_choose_an_ineligible_server(settings in settings(), steps in steps()) {
        let mut bench = Bench::new(&settings, 3);
        for step in &steps {
            match make(&mut bench, step) {
                (eligible, Some(server)) => prop_assert!(eligible.contains(&server), "{settings:?}"),
                (eligible, None) => prop_assert!(eligible.is_empty(), "{settings:?}"),
            }
        }
    }

    #[test]
    fn no_load_breaks_a_bound_of_replica_sets(threshold in 0_u32..100, steps in steps()) {
        let table = TableKind::Replicated;
        let load_threshold = LoadThreshold::Requests(threshold);
        let mut bench = Bench::new(&PolicySettings { table, load_threshold: Some(load_threshold), ..PolicySettings::default() }, 3);
        for step in &steps {
            let (eligible, _) = make(&mut bench, step);
            for i in 0..60 {
                let class = ClassId(step.3.min(i % CLASSES as u16));
                let chosen = bench.choose(class).map(|choice| choice.0);
                prop_assert!(chosen.map_or(eligible.is_empty(), |server| eligible.contains(&server)));
                prop_assert!(bench.policy.entries() <= CLASSES + 3);
            }
        }
    }

    #[test]
    fn no_load_makes_weights_reach_an_ineligible_server(threshold in 0_u32..100, steps in steps()) {
        let load_threshold = LoadThreshold::Requests(threshold);
        let table = TableKind::Weighted;
        let mut bench = Bench::new(&PolicySettings { table, load_threshold: Some(load_threshold), ..PolicySettings::default() }, 3);
        for step in &steps {
            let (eligible, _) = make(&mut bench, step);
            // Windows are 512 to 1536 requests.
            for i in 0..200 {
                let chosen = bench.peek(ClassId(step.3), Some(i % (1 + u64::from(step.5)))).map(|choice| choice.0);
                prop_assert!(chosen.map_or(eligible.is_empty(), |server| eligible.contains(&server)));
                prop_assert!(bench.policy.entries() <= 64 + 3);
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_choices(settings in settings(), steps in steps()) {
        let run = || {
            let mut bench = Bench::new(&settings, 3);
            steps.iter().map(|step| make(&mut bench, step)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn every_eligible_server_is_reached_by_enough_different_requests(
        name in prop::sample::select(NAMES), table in prop::sample::select(&TABLES[1..]), server_count in 1_u16..12, out in prop::option::of(0_u16..12),
    ) {
        let mut bench = Bench::idle(&PolicySettings { table, ..named(name) }, server_count);
        out.iter().for_each(|&id| bench.drain(id, true));
        let mut reached = vec![false; usize::from(server_count)];
        for target in 0..2000 {
            let class = ClassId((target % CLASSES as u64) as u16);
            if let Some((server, _)) = bench.peek(class, Some(target)) {
                bench.cluster.dispatched(ServerId(server), class, bench.now);
                reached[usize::from(server)] = true;
            }
        }
        for (id, reached) in (0..).zip(reached) {
            prop_assert_eq!(reached, Some(id) != out, "server {} of {}", id, server_count);
        }
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = named("wrr").build(A, 1).unwrap_err().to_string();
    assert!(
        error.starts_with(r#"unknown policy "wrr"; use one of: context, lard, lard-r, round-robin, "#),
        "{error}"
    );
}

#[test]
fn every_name_builds_the_policy_of_that_name() {
    for name in NAMES {
        assert_eq!(named(name).build(A, 1).unwrap().name(), *name);
    }
}

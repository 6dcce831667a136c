//! What holds in every simulation: nothing is lost, and the same seed gives the same bytes.
//! All of it for any parameters, so that no figure rests on a lost request.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use dispatcher_core::policy::NAMES;
use dispatcher_sim::{
    batch::{self, Job},
    clients::Clients,
    contender::Contender,
    csv_file,
    engine::Engine,
    settings::{
        ArrivalKind, CacheKind, Failure, Limit, OverLimit, PopularityKind, Settings, Slowdown, WhenFull,
    },
    span::Span,
};
use proptest::prelude::*;

fn any_cluster(
    settings: &mut Settings,
    (servers, queue_limit, cache, failing, slow): (u16, u32, u8, bool, bool),
) {
    settings.cluster.servers = servers;
    settings.cluster.queue_limit = queue_limit;
    settings.cluster.cache_kind = [CacheKind::Lru, CacheKind::Gds, CacheKind::Gms][usize::from(cache)];
    if failing {
        let during = Span::ms(300)..Span::ms(900);
        settings.cluster.fail.push(Failure { server: servers, during });
    }
    if slow {
        settings.cluster.slow.push(Slowdown::always(1, 3));
    }
}

fn any_front(settings: &mut Settings, (limit, over_limit, when_full, delay_ms): (u64, u8, u8, u64)) {
    settings.front.limit = if limit == 0 { Limit::Unlimited } else { Limit::Connections(limit) };
    settings.front.over_limit =
        [OverLimit::Wait, OverLimit::Reject, OverLimit::Evict][usize::from(over_limit)];
    settings.front.when_full = [WhenFull::Send, WhenFull::Other, WhenFull::Refuse][usize::from(when_full)];
    settings.front.delay = Span::ms(delay_ms);
}

fn any_clients(
    settings: &mut Settings,
    (arrival, zipf, per_connection, idle, load): (u8, bool, u32, u32, f64),
) {
    let workload = &mut settings.workload;
    workload.arrival = [ArrivalKind::Closed, ArrivalKind::Open, ArrivalKind::Burst][usize::from(arrival)];
    workload.popularity = if zipf { PopularityKind::Zipf } else { PopularityKind::Uniform };
    (workload.per_connection, workload.idle, workload.load) = (per_connection, idle, load);
    (workload.clients, workload.think, workload.idle_time) = (60, Span::ms(50), Span::ms(200));
    workload.contexts = 200;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_is_served_dropped_or_in_flight(
        seed: u64,
        name in prop::sample::select(NAMES),
        cluster in (1_u16..6, 0_u32..6, 0_u8..3, any::<bool>(), any::<bool>()),
        front in (0_u64..40, 0_u8..3, 0_u8..3, 0_u64..30),
        clients in (0_u8..3, any::<bool>(), 1_u32..4, 0_u32..60, 0.2_f64..4.0),
    ) {
        let mut settings = Settings::default();
        settings.run.seed = seed;
        any_cluster(&mut settings, cluster);
        any_front(&mut settings, front);
        any_clients(&mut settings, clients);
        let contender = Contender::named(name);
        let clients = Clients::new(&settings, contender.classes);
        let mut engine = Engine::new(&settings, &contender, clients, 20).unwrap();
        for step in 0..6000 {
            engine.step();
            let totals = engine.metrics().totals;
            let accounted = totals.served + totals.dropped + engine.in_flight();
            prop_assert_eq!(totals.issued, accounted, "step {}: {:?}", step, totals);
        }
        prop_assert!(engine.metrics().totals.served > 0);
    }
}

/// The CSV of every policy's run, made by `threads` threads.
fn csv(threads: usize) -> Vec<u8> {
    let mut settings = Settings::default();
    (settings.run.warm_up, settings.run.requests) = (500, 2000);
    settings.workload.popularity = PopularityKind::Zipf;
    let contenders = NAMES.iter().map(|name| Contender::named(name));
    let jobs: Vec<_> = contenders.map(|contender| Job { settings: settings.clone(), contender }).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcomes = pool.install(|| batch::run_all(&jobs, &|| ())).unwrap();
    let lines: Vec<_> = outcomes.iter().map(csv_file::fields).collect();
    csv_file::text(&csv_file::COLUMNS, &lines).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_twice_and_on_any_number_of_threads() {
    let once = csv(1);
    assert_eq!(once, csv(1));
    assert_eq!(once, csv(2));
}

#[test]
fn a_silent_server_gets_nothing_and_a_returned_one_does() {
    let mut settings = Settings::default();
    settings.cluster.servers = 2;
    settings.cluster.fail.push(Failure { server: 1, during: Span::s(2)..Span::s(4) });
    let contender = Contender::named("round-robin");
    let clients = Clients::new(&settings, contender.classes);
    let mut engine = Engine::new(&settings, &contender, clients, 100).unwrap();
    let served = |engine: &Engine| engine.metrics().servers[0].served;
    engine.advance(2_000_000);
    let before = served(&engine);
    engine.advance(2_040_000);
    let noticed = engine.metrics().servers[0].dropped;
    engine.advance(4_000_000);
    assert!(before > 0 && served(&engine) == before);
    assert_eq!(engine.metrics().servers[0].dropped, noticed, "after three periods nothing is sent there");
    engine.advance(6_000_000);
    assert!(served(&engine) > before);
}

//! Simulated requests per second of one core, by policy. A plain harness: a run is long enough to need no statistics.

use std::time::Instant;

use dispatcher_core::policy::PolicySettings;
use dispatcher_sim::{contender::Contender, run, settings::Settings};

fn main() {
    let mut settings = Settings::default();
    settings.run.requests = 2_000_000;
    for name in dispatcher_core::policy::NAMES {
        for servers in [4, 16] {
            settings.cluster.servers = servers;
            let policy = PolicySettings { name: (*name).to_owned(), ..PolicySettings::default() };
            let contender = Contender { label: (*name).to_owned(), policy, classes: 1 };
            let started = Instant::now();
            let outcome = run::run(&settings, &contender).expect("the name is of the list");
            let requests = (settings.run.requests + settings.run.warm_up) as f64;
            let rate = requests / started.elapsed().as_secs_f64() / 1e6;
            println!(
                "{name:24} {servers:2} servers {rate:5.2} M requests/s  hit rate {:.3} tput {:.1} p99 {} {}",
                outcome.hit_rate, outcome.throughput, outcome.p99_ms, outcome.residence_p99_ms
            );
        }
    }
}

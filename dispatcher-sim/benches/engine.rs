//! Simulated requests per second of one core, by policy: with the daemon's report period of 100 ms, and with the paper's of
//! 10, in which a server at 20 requests/s reports five times for each. A plain harness: runs are long enough.

use std::time::Instant;

use dispatcher_core::policy::NAMES;
use dispatcher_sim::{contender::Contender, run, settings::Settings, span::Span};

fn main() {
    let mut settings = Settings::default();
    settings.run.requests = 2_000_000;
    println!("{:24} {:>14} {:>14}", "M requests/s", "100 ms", "10 ms");
    for name in NAMES {
        let contender = Contender::named(name);
        let rates = [100, 10].map(|ms| {
            settings.front.period = Span::ms(ms);
            let started = Instant::now();
            run::run(&settings, &contender).expect("the name is of the list");
            let requests = (settings.run.requests + settings.run.warm_up) as f64;
            requests / started.elapsed().as_secs_f64() / 1e6
        });
        println!("{name:24} {:14.2} {:14.2}", rates[0], rates[1]);
    }
}

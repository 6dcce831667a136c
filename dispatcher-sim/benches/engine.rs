//! Simulated requests per second of CPU time of one core, by policy: with the daemon's report period of 100 ms, and with the
//! paper's of 10, in which a server at 20 requests/s reports five times for each. Policies that do not look at classes have
//! one. A plain harness: runs are long enough.

use std::time::Duration;

use dispatcher_core::policy::{Context, NAMES, TableKind};
use dispatcher_sim::{
    contender::{Contender, DEFAULT_CLASSES},
    run,
    settings::Settings,
    span::Span,
};
use nix::time::{ClockId, clock_gettime};

fn main() {
    let mut settings = Settings::default();
    settings.run.requests = 2_000_000;
    println!("{:24} {:>14} {:>14}", "M requests/s", "100 ms", "10 ms");
    let tables = [TableKind::Weighted, TableKind::Sticky, TableKind::Replicated];
    let ours = tables.map(|table| Contender::context(table, DEFAULT_CLASSES));
    let others = NAMES.iter().filter(|name| **name != Context::NAME);
    let others = others.map(|name| Contender { classes: 1, ..Contender::named(name) });
    for contender in ours.into_iter().chain(others) {
        let rates = [100, 10].map(|ms| {
            settings.front.period = Span::ms(ms);
            let started = cpu_time();
            run::run(&settings, &contender).expect("the name is of the list");
            let requests = (settings.run.requests + settings.run.warm_up) as f64;
            requests / (cpu_time() - started).as_secs_f64() / 1e6
        });
        let name = contender.to_string();
        println!("{name:24} {:14.2} {:14.2}", rates[0], rates[1]);
    }
}

/// Of this thread, so that what else the machine does matters less.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.into()
}

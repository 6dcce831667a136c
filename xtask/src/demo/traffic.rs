//! The demo's mix of requests: workers that open connections, keep them for a few requests of one class, and
//! check every answer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ::tests::{Family, Plan};

use super::client::{Connection, Request};

const WORKERS: u64 = 16;
const FAILURES_KEPT: usize = 10;

/// What has been sent and answered so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub requests: u64,
    pub wrong: u64,
    pub connections: u64,
    /// Right answers by class and server.
    pub answers: BTreeMap<(&'static str, String), u64>,
    /// The first failures, as text.
    pub failures: Vec<String>,
}

/// Where the requests go, and what has become of them.
#[derive(Debug)]
pub(super) struct Traffic {
    addresses: Vec<SocketAddr>,
    servers: Vec<String>,
    tally: Mutex<Tally>,
}

impl Traffic {
    pub(super) fn new(plan: &Plan, families: &[Family]) -> Self {
        let addresses =
            families.iter().map(|family| SocketAddr::new(plan.address("vip", *family), 80)).collect();
        Self { addresses, servers: plan.server_names(), tally: Mutex::default() }
    }

    /// Sends requests until told to stop. To be called on the client's host: threads inherit the namespace.
    pub(super) fn run(&self, stop: &AtomicBool) {
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                scope.spawn(move || {
                    let mut dice = Dice(worker + 1);
                    while !stop.load(Ordering::Relaxed) {
                        self.connection(&mut dice, stop);
                    }
                });
            }
        });
    }

    pub(super) fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// One connection: all its requests are of one class.
    fn connection(&self, dice: &mut Dice, stop: &AtomicBool) {
        let address = self.addresses[dice.below(self.addresses.len() as u64) as usize];
        let class = dice.class();
        let last = dice.below(8);
        let mut connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(error) => return self.note(class, address, "-", Err(error)),
        };
        self.lock().connections += 1;
        for index in 0..=last {
            let request = dice.request(class, index == last);
            let answer = connection.exchange(&request, &self.servers);
            let failed = answer.is_err();
            self.note(class, address, &request.path, answer);
            if failed || stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_micros(dice.below(10_000)));
        }
    }

    fn note(&self, class: &'static str, address: SocketAddr, path: &str, answer: anyhow::Result<String>) {
        let mut tally = self.lock();
        tally.requests += 1;
        match answer {
            Ok(server) => *tally.answers.entry((class, server)).or_default() += 1,
            Err(error) => {
                tally.wrong += 1;
                if tally.failures.len() < FAILURES_KEPT {
                    tally.failures.push(format!("{path} of {address}: {error:#}"));
                } else {
                    // A broken path must not make a busy loop of failing connections.
                    drop(tally);
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Repeatable choices: xorshift64.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of the first numbers of a small seed hardly differ.
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % bound
    }

    fn class(&mut self) -> &'static str {
        match self.below(10) {
            0..4 => "images",
            4..6 => "cgi",
            6..7 => "downloads",
            _ => "pages",
        }
    }

    fn request(&mut self, class: &str, close: bool) -> Request {
        let number = self.below(100);
        let (path, body) = match class {
            "images" => (format!("/images/{number}.png"), None),
            "cgi" if number < 50 => (format!("/cgi/order?id={number}"), Some(format!("item={number}"))),
            "cgi" => (format!("/cgi/report?id={number}"), None),
            "downloads" => (format!("/bytes/{}", ["1k", "64k", "64k", "1m"][(number % 4) as usize]), None),
            _ => (["/", "/about", "/news/today", "/contact"][(number % 4) as usize].to_owned(), None),
        };
        Request { path, body, split: self.below(10) == 0, close }
    }
}

#[cfg(test)]
mod tests {
    use ::tests::Rig;

    use super::*;

    #[test]
    fn the_dice_make_every_class() {
        let mut dice = Dice(1);
        let classes: std::collections::BTreeSet<_> = (0..200).map(|_| dice.class()).collect();
        assert_eq!(classes.len(), 4);
    }

    #[test]
    fn all_answers_of_a_server_asked_directly_are_right() {
        if ::tests::skipped("all_answers_of_a_server_asked_directly_are_right") {
            return;
        }
        let rig = Rig::builder("xtask-traffic").servers(1).start().unwrap();
        let mut traffic = Traffic::new(rig.plan(), &[]);
        traffic.addresses = [Family::V4, Family::V6]
            .map(|family| SocketAddr::new(rig.plan().address("server1", family), 80))
            .to_vec();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let running = scope.spawn(|| rig.host("client").unwrap().enter(|| traffic.run(&stop)).unwrap());
            thread::sleep(Duration::from_secs(1));
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap();
        });
        let tally = traffic.tally();
        assert!(tally.requests > 100, "{tally:?}");
        assert_eq!(tally.wrong, 0, "{tally:?}");
    }
}

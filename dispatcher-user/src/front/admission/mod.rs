//! Admission at the front-end: who is let in, who gives way, and what became of them by priority. The rules are the decision
//! core's; the numbers they go by are in the [`Ledger`], which the kernel's program shares.

pub mod ledger;
pub mod tally;

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dispatcher_common::{
    admission::{AdmissionEntry, Ruling},
    limits::PRIORITIES,
};
use dispatcher_core::{
    admission::{AdmissionSettings, Causes, EvictionBudget, Pressure, Victim, Victims, gate},
    config::FrontConfig,
    ids::Priority,
};
use tokio::sync::Notify;

use self::{ledger::Ledger, tally::Tallies};
use super::dispatch::Refusal;

/// Open flows may exceed the limit by one in so many, for want of flows that may be evicted.
const OVERSHOOT_ONE_IN: u64 = 4;

/// Admission of all configured services.
#[derive(Debug)]
pub struct Admission {
    ledger: Ledger,
    services: Vec<Service>,
    /// Somebody wants fresh victims.
    wanted: Notify,
}

/// Admission of one of them.
#[derive(Debug)]
struct Service {
    settings: Option<AdmissionSettings>,
    /// What the data plane was told, without the counts.
    told: Mutex<AdmissionEntry>,
    victims: Mutex<Victims>,
    budget: Mutex<EvictionBudget>,
    tallies: Tallies,
    /// How often load or a signal has become too much.
    overloads: AtomicU64,
}

impl Service {
    fn new(settings: Option<&AdmissionSettings>) -> Self {
        let default = AdmissionSettings::default();
        Self {
            settings: settings.cloned(),
            told: Mutex::new(settings.unwrap_or(&default).entry()),
            victims: Mutex::default(),
            budget: Mutex::new(EvictionBudget::new(&settings.unwrap_or(&default).eviction)),
            tallies: Tallies::default(),
            overloads: AtomicU64::new(0),
        }
    }
}

impl Admission {
    /// Nobody is refused before the first look at the load.
    #[must_use]
    pub fn new(config: &FrontConfig, ledger: Ledger) -> Self {
        let services: Vec<_> =
            config.services.iter().map(|service| Service::new(service.admission.as_ref())).collect();
        for (owner, service) in services.iter().enumerate() {
            ledger.set(owner, &lock(&service.told));
        }
        Self { ledger, services, wanted: Notify::new() }
    }

    /// The settings of a configured service, if it has admission.
    #[must_use]
    pub fn settings(&self, owner: usize) -> Option<&AdmissionSettings> {
        self.services.get(owner)?.settings.as_ref()
    }

    /// What the data plane goes by now.
    #[must_use]
    pub fn entry(&self, owner: usize) -> AdmissionEntry {
        self.ledger.entry(owner)
    }

    /// The numbers that the kernel's program shares.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What became of requests of a configured service.
    #[must_use]
    pub fn tallies(&self, owner: usize) -> &Tallies {
        &self.services[owner].tallies
    }

    /// Notes what the load is, and for how many flows there is room.
    pub fn set_pressure(&self, owner: usize, pressure: Pressure, limit: u64) {
        let Causes { cpu, listen_overflows, .. } = pressure.causes;
        self.tell(owner, |entry| {
            (entry.overloaded, entry.limit) = ((cpu || listen_overflows).into(), limit);
            entry.closed_below = pressure.closed_below;
        });
    }

    fn tell(&self, owner: usize, change: impl FnOnce(&mut AdmissionEntry)) {
        let mut told = lock(&self.services[owner].told);
        let before = *told;
        change(&mut told);
        if *told != before {
            self.ledger.set(owner, &told);
        }
        if told.is_overloaded() && !before.is_overloaded() {
            self.services[owner].overloads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often load or a server's signal has become too much for some priority.
    #[must_use]
    pub fn overloads(&self, owner: usize) -> u64 {
        self.services[owner].overloads.load(Ordering::Relaxed)
    }

    /// Judges a newcomer. Where it takes the place of someone but nobody may be evicted now, it comes in all the same, up to a
    /// bound; not so when it is the load that is too much for it.
    #[must_use]
    pub fn judge(&self, owner: usize, priority: Priority, newcomer: IpAddr, now: Duration) -> Ruling {
        if self.settings(owner).is_none() {
            return Ruling::Admit;
        }
        let entry = self.ledger.entry(owner);
        let ruling = entry.judge(priority.get());
        let is_full = entry.limit != u64::MAX && entry.total() > entry.limit + entry.limit / OVERSHOOT_ONE_IN;
        // Load has a bound for each priority already.
        let is_bounded = is_full || !entry.is_full();
        match ruling {
            Ruling::Evict(_) if is_bounded && !self.may_evict(owner, priority, newcomer, now) => {
                Ruling::Refuse
            }
            ruling => ruling,
        }
    }

    fn may_evict(&self, owner: usize, below: Priority, newcomer: IpAddr, now: Duration) -> bool {
        let service = &self.services[owner];
        let is_ready = lock(&service.victims).lowest_ready() < below.get();
        is_ready && lock(&service.budget).allows(now, newcomer).is_ok()
    }

    /// Requests on kept connections below this priority are refused; 0 for none.
    #[must_use]
    pub fn gate(&self, owner: usize) -> u8 {
        if self.settings(owner).is_some() { gate(&self.ledger.entry(owner)) } else { 0 }
    }

    /// Counts an admitted flow as open.
    pub fn admitted(&self, owner: usize, priority: Priority) {
        self.ledger.open(owner, priority.get());
        self.services[owner].tallies.of(priority.get()).admit();
    }

    /// Counts a flow as admitted that the kernel's program dispatched, and counted as open.
    pub fn learnt(&self, owner: usize, priority: Priority) {
        self.services[owner].tallies.of(priority.get()).admit();
    }

    /// Counts a first request as refused, and says how to say no.
    #[must_use]
    pub fn refused(&self, owner: usize, priority: Priority) -> Refusal {
        self.services[owner].tallies.of(priority.get()).refuse_first();
        self.refusal(owner, priority)
    }

    /// How to say no.
    #[must_use]
    pub fn refusal(&self, owner: usize, priority: Priority) -> Refusal {
        let default = AdmissionSettings::default();
        let settings = self.settings(owner).unwrap_or(&default);
        Refusal { way: settings.way(priority), retry_after: settings.retry_after }
    }

    /// Counts a request as answered, of those whose response the slow path saw acknowledged.
    pub fn answered(&self, owner: usize, priority: u8, wait: Duration) {
        self.services[owner].tallies.of(priority).answer(wait);
    }

    /// Counts a flow as closed.
    pub fn closed(&self, owner: usize, priority: u8) {
        self.ledger.close(owner, priority);
    }

    /// Counts an open flow by another priority.
    pub fn reprioritised(&self, owner: usize, before: u8, after: u8) {
        self.ledger.close(owner, before);
        self.ledger.open(owner, after);
    }

    /// Counts a flow as evicted and closed.
    pub fn evicted(&self, owner: usize, priority: u8) {
        self.ledger.close(owner, priority);
        self.services[owner].tallies.of(priority).evict();
    }

    /// A flow that may give way to a newcomer of higher priority, within the budgets.
    pub fn victim(&self, owner: usize, below: Priority, newcomer: IpAddr, now: Duration) -> Option<Victim> {
        let service = self.services.get(owner)?;
        let mut budget = lock(&service.budget);
        budget.allows(now, newcomer).ok()?;
        let victim = lock(&service.victims).take(below);
        if victim.is_none() {
            self.wanted.notify_one();
        }
        let victim = victim?;
        budget.take(now, newcomer).ok()?;
        Some(victim)
    }

    /// Replaces the victims that are ready.
    pub fn set_victims(&self, owner: usize, victims: Victims) {
        let lowest_ready = victims.lowest_ready();
        *lock(&self.services[owner].victims) = victims;
        self.tell(owner, |entry| entry.lowest_ready = lowest_ready);
    }

    /// Completes when fresh victims are wanted.
    pub async fn victims_wanted(&self) {
        self.wanted.notified().await;
    }
}

/// Why a service is overloaded, in words; empty if it is not.
#[must_use]
pub fn causes(pressure: Pressure) -> String {
    let Causes { connections, load, cpu, listen_overflows } = pressure.causes;
    let load_word = match pressure.closed_below {
        below if usize::from(below) < PRIORITIES => format!("load for priorities below {below}"),
        _ => "load".to_owned(),
    };
    let words = [
        (connections, "connections"),
        (load, &load_word),
        (cpu, "cpu"),
        (listen_overflows, "listen overflows"),
    ];
    words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a list or a budget one step behind at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use dispatcher_common::{
        address::Address,
        filter::{Filter, FlowKey, state},
    };
    use dispatcher_core::admission::{VictimCollector, Way};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn admission(keys: &str) -> Admission {
        let text = format!(
            "secret = \"0123456789abcdef\"\ninterface = \"eth0\"\n[[server]]\nname = \"server1\"\naddress = \"198.18.0.11\"\n\
             [[service]]\nname = \"web\"\nvip = [\"198.18.0.100\"]\nport = 80\n{keys}"
        );
        Admission::new(&FrontConfig::parse(&text, "front.toml").unwrap(), Ledger::in_memory())
    }

    fn judge(admission: &Admission, level: u8) -> Ruling {
        admission.judge(0, priority(level), IpAddr::from([198, 18, 0, 1]), 5 * SECOND)
    }

    fn priority(level: u8) -> Priority {
        Priority::new(level).unwrap()
    }

    #[test]
    fn without_admission_everyone_comes_in_and_is_counted() {
        let admission = admission("");
        admission.set_pressure(0, Pressure { overloaded: true, ..Pressure::default() }, 0);
        for _ in 0..3 {
            assert_eq!(judge(&admission, 0), Ruling::Admit);
            admission.admitted(0, priority(0));
        }
        assert_eq!((admission.entry(0).total(), admission.gate(0)), (3, 0));
        assert_eq!(admission.tallies(0).of(0).admitted(), 3);
    }

    #[test]
    fn the_better_exceed_the_limit_by_a_quarter_when_nobody_may_give_way() {
        let admission = admission("[service.admission]\nconnection_limit = 8\n");
        admission.set_pressure(0, Pressure::default(), 8);
        let mut admitted = 0;
        while judge(&admission, if admitted < 8 { 1 } else { 5 }) != Ruling::Refuse {
            admission.admitted(0, priority(if admitted < 8 { 1 } else { 5 }));
            admitted += 1;
        }
        assert_eq!(admitted, 11, "the limit, a quarter of it, and the one who finds that out");
        assert_eq!(judge(&admission, 1), Ruling::Refuse);
    }

    #[test]
    fn a_refusal_says_how_and_when_to_try_again() {
        let admission = admission(
            "[service.admission]\nretry_after = \"7s\"\nrefusals = { 0 = \"drop\", 2 = \"reset\" }\n",
        );
        let way = |level| admission.refused(0, priority(level)).way;
        assert_eq!([way(0), way(1), way(2)], [Way::Drop, Way::Respond, Way::Reset]);
        assert_eq!(admission.refusal(0, priority(3)).retry_after, 7 * SECOND);
        assert_eq!(admission.tallies(0).of(0).refused_first(), 1);
        assert_eq!(admission.entry(0).ways[..3], [Way::Drop, Way::Respond, Way::Reset].map(Way::code));
    }

    #[test]
    fn who_gives_way_is_asked_for_within_the_budget() {
        let admission = admission("[service.admission]\nmin_age = \"100ms\"\nevictions_per_second = 2\n");
        let settings = admission.settings(0).unwrap();
        let mut collector =
            VictimCollector::new(&settings.eviction, &settings.adjusting, Pressure::default());
        for port in 1..=3 {
            let key = FlowKey::new(Address::from_words([0, 0, 0, 9]), port, 0);
            let filter = Filter { state: state::ESTABLISHED, priority: 2, ..Filter::default() };
            collector.offer(key, &filter, 1_000_000_000);
        }
        admission.set_victims(0, collector.finish());
        assert_eq!(admission.entry(0).lowest_ready, 2);
        let newcomer = "198.18.0.1".parse().unwrap();
        let victim = |below| admission.victim(0, priority(below), newcomer, 5 * SECOND);
        assert!(victim(2).is_none(), "equals stay");
        assert!(victim(3).is_some() && victim(3).is_some());
        assert!(victim(3).is_none(), "two in a second are enough");
        assert_eq!(admission.entry(0).lowest_ready, 2, "the third is still there");
        for _ in 0..11 {
            admission.admitted(0, priority(2));
        }
        admission.set_pressure(0, Pressure::default(), 8);
        assert_eq!(
            judge(&admission, 3),
            Ruling::Refuse,
            "the limit and a quarter of it, and nobody may give way"
        );
        let later = admission.judge(0, priority(3), newcomer, 6 * SECOND);
        assert_eq!(later, Ruling::Evict(2), "within the budget again");
    }
}

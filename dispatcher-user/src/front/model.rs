//! The cluster model as the daemon shares it: one lock around the decision core's servers and policies. Slow-path threads ask
//! it for decisions; reports, neighbour look-up and listings reach it from the control plane's thread.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispatcher_common::{
    address::Address, admission::Ruling, choice::DispatchRecord, counter::ControlCounter, filter::FlowKey,
    server::ServerEntry, tuple::Tuple,
};
use dispatcher_core::{
    admission::{Overload, Pressure, Victim},
    class::ClassMap,
    cluster::{Accepted, Cluster, ReportRefused, SILENT_PERIODS},
    config::{FrontConfig, ServiceConfig},
    http::RequestHead,
    ids::{ClassId, Priority, ServerId},
    policy::{Choice, Classified, InKernel, Outcome, Policy, UnknownPolicy},
    report::Report,
};

use super::{
    admission::Admission,
    choice::{Choices, Terms},
    counters::ControlCounters,
    dispatch::{Decision, Dispatch, Judgement, Known, Refusal},
    kept::KeptRequests,
    members::Members,
};
use crate::kernel::clock;

/// Shortest time between two looks at what the program counts and dispatches, but for decisions that need to know the last one.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

/// What was dispatched, to a server or of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub dispatched: u64,
    /// To the class's own server.
    pub hits: u64,
    /// To another, because the class's own was too busy.
    pub moved: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        self.dispatched += 1;
        match outcome {
            Outcome::Hit => self.hits += 1,
            Outcome::Moved => self.moved += 1,
            Outcome::Unbound => {}
        }
    }
}

/// A configured service with its classes.
#[derive(Debug)]
pub struct Service {
    pub config: ServiceConfig,
    pub classes: ClassMap,
}

/// What the lock protects.
#[derive(Debug)]
pub struct State {
    pub cluster: Cluster,
    /// By configured service.
    pub policies: Vec<Box<dyn Policy>>,
    /// By server.
    pub entries: Vec<ServerEntry>,
    pub by_server: Vec<Tally>,
    pub by_class: Vec<Tally>,
    /// By configured service: whether those that have admission are overloaded.
    overloads: Vec<Option<Overload>>,
    choices: Choices,
    next_look: Duration,
}

/// Servers, services and their policies.
#[derive(Debug)]
pub struct Model {
    state: Mutex<State>,
    services: Vec<Service>,
    /// How many there are.
    servers: u16,
    /// How long the program chooses without hearing from the control plane.
    valid_for: Duration,
    /// The data-plane services.
    doors: Vec<Door>,
    admission: Arc<Admission>,
    members: Arc<Members>,
    kept: KeptRequests,
    counters: Arc<ControlCounters>,
    started: Instant,
}

/// A data-plane service.
#[derive(Clone, Copy, Debug)]
struct Door {
    /// The configured service.
    owner: usize,
    vip: Address,
    port_be: u16,
}

impl Model {
    /// The model of a configuration, all servers silent and without MAC addresses. Data-plane services are numbered in the
    /// order of services and of VIPs within each.
    ///
    /// # Errors
    /// When a policy does not exist, which the configuration's parser has excluded.
    pub fn new(
        config: &FrontConfig,
        admission: Arc<Admission>,
        members: Arc<Members>,
        counters: Arc<ControlCounters>,
    ) -> Result<Self, UnknownPolicy> {
        let names = config.servers.iter().map(|server| server.name.clone());
        let class_count = config.class_count();
        let build = |service: &ServiceConfig| service.policy.build(service.class_base, service.class_count());
        let overload = |service: &ServiceConfig| service.admission.as_ref().map(Overload::new);
        Ok(Self {
            state: Mutex::new(State {
                cluster: Cluster::new(names, class_count, config.report_interval),
                policies: config.services.iter().map(build).collect::<Result<_, _>>()?,
                entries: vec![ServerEntry::default(); config.servers.len()],
                by_server: vec![Tally::default(); config.servers.len()],
                by_class: vec![Tally::default(); class_count],
                overloads: config.services.iter().map(overload).collect(),
                choices: Choices::in_memory(),
                next_look: Duration::ZERO,
            }),
            valid_for: config.report_interval * SILENT_PERIODS,
            servers: config.servers.len() as u16,
            doors: doors(config),
            admission,
            members,
            kept: KeptRequests::in_memory(),
            counters,
            services: config
                .services
                .iter()
                .map(|config| Service { config: config.clone(), classes: config.class_map() })
                .collect(),
            started: Instant::now(),
        })
    }

    /// Reckons loads by what the kernel's program counts, too.
    #[must_use]
    pub fn with_kept_requests(self, kept: KeptRequests) -> Self {
        Self { kept, ..self }
    }

    /// Lets the program choose, and learns from what it does.
    #[must_use]
    pub fn with_choices(mut self, choices: Choices) -> Self {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).choices = choices;
        self
    }

    /// Reckons every server's load for `now`.
    fn advance(&self, state: &mut State, now: Duration) {
        state.cluster.advance(now);
        if now >= state.next_look {
            state.next_look = now + LOOK_PERIOD;
            self.look(state, now);
        }
    }

    /// Takes in what the program has counted and dispatched.
    fn look(&self, state: &mut State, now: Duration) {
        for server in (0..self.servers).map(ServerId) {
            state.cluster.continued(server, self.kept.fresh(server));
        }
        let (records, lost) = state.choices.drain();
        self.counters.add(ControlCounter::DispatchUnlearnt, lost);
        records.iter().for_each(|record| self.learn(state, record, now));
        state.choices.recycle(records);
    }

    /// Learns of a dispatch as if it had been decided here.
    fn learn(&self, state: &mut State, record: &DispatchRecord, now: Duration) {
        let owner = usize::from(record.owner);
        let Some(Service { config, .. }) = self.services.get(owner) else { return };
        let priority = Priority::new(record.priority).unwrap_or(Priority::HIGHEST);
        let request = Classified { class: ClassId(record.class), priority, target: Some(record.target) };
        let choice = Choice { server: ServerId(record.server), outcome: Outcome::from_code(record.outcome) };
        let view = state.cluster.view(&config.servers);
        state.policies[owner].observed(request, choice, &view, &mut rand::rng());
        state.count(request.class, choice, now);
        self.admission.learnt(owner, priority);
    }

    /// Takes in what the program has dispatched, and publishes all that it chooses by. Call it every few milliseconds.
    pub fn share(&self) {
        let now = self.now();
        let state = &mut *self.lock();
        state.cluster.advance(now);
        state.next_look = now + LOOK_PERIOD;
        self.look(state, now);
        self.publish(state);
    }

    /// The state as of now, for listings.
    pub fn current(&self) -> MutexGuard<'_, State> {
        let now = self.now();
        let mut state = self.lock();
        state.cluster.advance(now);
        self.look(&mut state, now);
        state
    }

    fn publish(&self, state: &mut State) {
        let State { cluster, policies, overloads, choices, .. } = state;
        let now_us = clock::coarse_us();
        let valid_until_us = now_us + self.valid_for.as_micros() as u64;
        choices.publish_loads(cluster, now_us);
        for (owner, Service { config, classes }) in self.services.iter().enumerate() {
            let servers = cluster.view(&config.servers);
            let load_bound = overloads[owner].as_ref().and_then(|overload| overload.lowest_bound(&servers));
            let policy = policies[owner].as_ref();
            choices.publish_classes(policy, classes.classes());
            choices.publish_service(owner, policy, &Terms { servers, load_bound, valid_until_us });
        }
    }

    /// Time on the model's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The configured services.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The configured service of a data-plane service.
    #[must_use]
    pub fn service(&self, data_plane_id: u16) -> Option<&Service> {
        self.services.get(self.owner(data_plane_id)?)
    }

    /// The number of that.
    #[must_use]
    pub fn owner(&self, data_plane_id: u16) -> Option<usize> {
        Some(self.doors.get(usize::from(data_plane_id))?.owner)
    }

    /// Who is let in.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The member-tables.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Looks at the load of a configured service and notes what it means for newcomers.
    #[must_use]
    pub fn observe(&self, owner: usize) -> Pressure {
        let now = self.now();
        let state = &mut *self.lock();
        self.advance(state, now);
        self.observe_locked(state, owner, now)
    }

    fn observe_locked(&self, state: &mut State, owner: usize, now: Duration) -> Pressure {
        let Some(overload) = &mut state.overloads[owner] else { return Pressure::default() };
        let view = state.cluster.view(&self.services[owner].config.servers);
        let pressure = overload.observe(&view, now);
        self.admission.set_pressure(owner, pressure, overload.limit(view.iter().count()));
        pressure
    }

    /// Locks the model, for listings.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counts at worst one short; better than no dispatching.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a genuine report and lets the policies of the server's services learn from it.
    ///
    /// # Errors
    /// When the report must not be used.
    pub fn accept(&self, report: &Report, now_wall_ms: u64) -> Result<Accepted, ReportRefused> {
        let now = self.now();
        let state = &mut *self.lock();
        // What the report includes must be known before it is taken.
        self.look(state, now);
        let accepted = state.cluster.accept(report, now, now_wall_ms)?;
        for (service, policy) in self.services.iter().zip(&mut state.policies) {
            let members = &service.config.servers;
            if members.contains(&accepted.server) {
                policy.reported(accepted.server, &accepted.classes, &state.cluster.view(members));
                state.choices.publish_classes(policy.as_ref(), accepted.classes.iter().copied());
            }
        }
        self.publish_report(state, report, &accepted);
        Ok(accepted)
    }

    fn publish_report(&self, state: &mut State, report: &Report, accepted: &Accepted) {
        let all = 0..state.by_class.len() as u16;
        let measured = report.classes.iter().map(|class| class.class).filter(|class| all.contains(class));
        let State { cluster, choices, .. } = state;
        if accepted.rebooted {
            choices.publish_times(cluster, accepted.server, all.clone().map(ClassId));
        } else {
            choices.publish_times(cluster, accepted.server, measured.map(ClassId));
        }
        if accepted.rebooted || accepted.returned {
            self.publish(state);
        } else {
            choices.publish_loads(cluster, clock::coarse_us());
        }
    }

    /// Takes out servers whose reports stopped, and names them.
    pub fn tick(&self) -> Vec<ServerId> {
        let now = self.now();
        let state = &mut *self.lock();
        let silent = state.cluster.tick(now);
        if !silent.is_empty() {
            self.publish(state);
        }
        silent
    }

    /// Notes the link-layer addresses of a server; new flows may go to it from now on.
    pub fn set_entry(&self, server: ServerId, entry: ServerEntry) {
        let state = &mut *self.lock();
        if let Some(place) = state.entries.get_mut(server.index()) {
            *place = entry;
            state.cluster.set_mac_known(server, entry.usable != 0);
            self.publish(state);
        }
    }
}

impl State {
    /// Counts a dispatch, whoever made it.
    fn count(&mut self, class: ClassId, choice: Choice, now: Duration) {
        self.cluster.dispatched(choice.server, class, now);
        let tallies = [self.by_server.get_mut(choice.server.index()), self.by_class.get_mut(class.index())];
        tallies.into_iter().flatten().for_each(|tally| tally.count(choice.outcome));
    }

    /// Tells the program at once of a dispatch that was made here.
    fn tell(&mut self, owner: usize, class: ClassId, server: ServerId) {
        let work = self.cluster.service_time(server, class);
        self.choices.dispatched(server, work.as_micros() as u32);
        let policy = self.policies[owner].as_ref();
        self.choices.publish_classes(policy, [class].into_iter());
        self.choices.publish_turn(owner, policy);
    }
}

/// The data-plane services of a configuration, in the order of their numbers.
fn doors(config: &FrontConfig) -> Vec<Door> {
    let services = config.services.iter().enumerate();
    let doors = services.flat_map(|(owner, service)| {
        let door = move |vip: &IpAddr| Door { owner, vip: (*vip).into(), port_be: service.port.to_be() };
        service.vips.iter().map(door)
    });
    doors.collect()
}

impl Dispatch for Model {
    fn dispatch(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>) -> Judgement {
        let Some(owner) = self.owner(service) else { return Judgement::NoServer };
        let Service { config, classes } = &self.services[owner];
        let table = self.members.current(owner);
        let member = table.classify(client, head, clock::wall_ns() / 1_000_000_000);
        if member.bad_signature.is_some() {
            self.counters.increment(ControlCounter::SignedCookieBad);
        }
        let priority = member.priority;
        let class = classes.classify(head);
        let target = classes.target(head);
        let request = Classified { class, priority, target: Some(target) };
        let now = self.now();
        let state = &mut *self.lock();
        if let InKernel::RoundRobin(_) = state.policies[owner].in_kernel() {
            state.next_look = now;
        }
        self.advance(state, now);
        self.observe_locked(state, owner, now);
        let evict_below = match self.admission.judge(owner, priority, client.ip(), now) {
            Ruling::Admit => None,
            Ruling::Evict(_) => Some(priority.get()),
            Ruling::Refuse => return Judgement::Refused(self.admission.refused(owner, priority)),
        };
        let view = state.cluster.view(&config.servers);
        let Some(choice) = state.policies[owner].choose(request, &view, now, &mut rand::rng()) else {
            return Judgement::NoServer;
        };
        state.count(class, choice, now);
        state.tell(owner, class, choice.server);
        self.admission.admitted(owner, priority);
        Judgement::Dispatched(Decision {
            server: choice.server.0,
            class: class.0,
            priority: priority.get(),
            entry: state.entries[choice.server.index()],
            evict_below,
            known: (!table.asks_for_cookies()).then_some(Known {
                owner: owner as u8,
                target,
                class: class.0,
            }),
        })
    }

    fn refusal(&self, service: u16, priority: u8) -> Refusal {
        let owner = self.owner(service).unwrap_or_default();
        self.admission.refusal(owner, Priority::new(priority).unwrap_or(Priority::HIGHEST))
    }

    fn server(&self, server: u16) -> Option<ServerEntry> {
        self.lock().entries.get(usize::from(server)).copied().filter(|entry| entry.usable != 0)
    }

    fn tuple(&self, key: &FlowKey) -> Option<Tuple> {
        let Door { vip, port_be, .. } = *self.doors.get(usize::from(key.service()))?;
        Some(Tuple { client: key.client, vip, client_port_be: key.client_port_be(), port_be })
    }

    fn answered(&self, service: u16, priority: u8, wait: Duration) {
        if let Some(owner) = self.owner(service) {
            self.admission.answered(owner, priority, wait);
        }
    }

    fn closed(&self, service: u16, priority: u8) {
        if let Some(owner) = self.owner(service) {
            self.admission.closed(owner, priority);
        }
    }

    fn victim(&self, newcomer: &FlowKey, below: u8) -> Option<Victim> {
        let owner = self.owner(newcomer.service())?;
        self.admission.victim(owner, Priority::new(below)?, newcomer.client.into(), self.now())
    }

    fn evicted(&self, service: u16, priority: u8) {
        if let Some(owner) = self.owner(service) {
            self.admission.evicted(owner, priority);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use dispatcher_core::{
        cluster::Health,
        http::{Head, parse_head},
        secret::Secret,
    };

    use super::*;
    use crate::front::{admission::ledger::Ledger, members};

    /// Two servers, two services, three VIPs.
    pub(in crate::front) fn config() -> FrontConfig {
        let text = r#"
            secret = "0123456789abcdef"
            interface = "eth0"
            [[server]]
            name = "server1"
            address = "198.18.0.11"
            [[server]]
            name = "server2"
            address = "198.18.0.12"
            [[service]]
            name = "web"
            vip = ["198.18.0.100", "2001:db8::100"]
            port = 80
            table = "sticky"
            classes = 4
            [[service]]
            name = "api"
            vip = ["198.18.0.101"]
            port = 80
            servers = ["server2"]
            policy = "round-robin"
            classes = 2
            priority = 5
        "#;
        FrontConfig::parse(text, "front.toml").unwrap()
    }

    pub(in crate::front) fn model() -> Model {
        model_of(&config())
    }

    pub(in crate::front) fn model_of(config: &FrontConfig) -> Model {
        let secret = Secret::new("0123456789abcdef").unwrap();
        let read = |service| members::read(service, &secret, Path::new("")).unwrap();
        let tables = config.services.iter().map(read).collect();
        let members = Arc::new(Members::new(config, &secret, tables));
        let admission = Arc::new(Admission::new(config, Ledger::in_memory()));
        Model::new(config, admission, members, Arc::default()).unwrap()
    }

    pub(in crate::front) fn report(server: &str, sequence: u64) -> Report {
        Report {
            server: server.into(),
            boot_id: 7,
            sequence,
            sent_at_ms: 1_000_000,
            queue: 0,
            load_us: 0,
            accepted: 0,
            connections: 0,
            cpu_permille: 250,
            listen_overflows: 0,
            classes: Vec::new(),
        }
    }

    pub(in crate::front) fn entry(last: u8) -> ServerEntry {
        ServerEntry { mac: [2, 0, 0, 0, 0, last], source_mac: [2, 0, 0, 0, 0, 1], usable: 1 }
    }

    fn dispatch(model: &Model, service: u16, path: &str) -> Option<Decision> {
        match judge(model, service, path) {
            Judgement::Dispatched(decision) => Some(decision),
            Judgement::NoServer => None,
            Judgement::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    fn judge(model: &Model, service: u16, path: &str) -> Judgement {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let client = "198.18.0.1:40000".parse().unwrap();
        match parse_head(text.as_bytes(), 1000) {
            Head::Complete(head) => model.dispatch(service, client, &head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_needs_a_report_and_a_mac_address() {
        let model = model();
        assert!(dispatch(&model, 0, "/").is_none());
        model.accept(&report("server2", 1), 1_000_000).unwrap();
        assert!(dispatch(&model, 0, "/").is_none());
        assert_eq!(model.lock().cluster.servers()[1].health(), Health::NoMac);
        model.set_entry(ServerId(1), entry(12));
        assert_eq!(dispatch(&model, 0, "/").unwrap().entry, entry(12));
        assert!(model.server(0).is_none());
        assert_eq!(model.server(1), Some(entry(12)));
    }

    #[test]
    fn each_vip_leads_to_its_service() {
        let model = model();
        for (id, name) in ["server1", "server2"].into_iter().enumerate() {
            model.set_entry(ServerId(id as u16), entry(id as u8 + 11));
            model.accept(&report(name, 1), 1_000_000).unwrap();
        }
        for (vip, classes, priority) in [(0, 0..4, 3), (1, 0..4, 3), (2, 4..6, 5)] {
            let decision = dispatch(&model, vip, "/a").unwrap();
            assert!(classes.contains(&decision.class), "{decision:?}");
            assert_eq!(decision.priority, priority);
        }
        assert!(dispatch(&model, 3, "/a").is_none());
        assert_eq!(dispatch(&model, 2, "/a").unwrap().server, 1);
        assert_eq!(model.service(2).unwrap().config.name, "api");
    }

    #[test]
    fn hits_are_counted_by_class_and_server() {
        let model = model();
        model.set_entry(ServerId(0), entry(11));
        model.accept(&report("server1", 1), 1_000_000).unwrap();
        let class = dispatch(&model, 0, "/a").unwrap().class;
        dispatch(&model, 1, "/a").unwrap();
        let expected = Tally { dispatched: 2, hits: 1, moved: 0 };
        let state = model.lock();
        assert_eq!((state.by_server[0], state.by_class[usize::from(class)]), (expected, expected));
        assert_eq!(state.policies[0].bound_server(ClassId(class)), Some(ServerId(0)));
    }

    #[test]
    fn the_program_s_dispatches_count_as_our_own() {
        let model = model();
        model.set_entry(ServerId(0), entry(11));
        model.accept(&report("server1", 1), 1_000_000).unwrap();
        let class = dispatch(&model, 0, "/a").unwrap().class;
        let record = DispatchRecord { work_us: 1000, class, priority: 3, ..DispatchRecord::default() };
        model.lock().choices.note_as_the_program(&record);
        model.share();
        let state = model.lock();
        let expected = Tally { dispatched: 2, hits: 1, moved: 0 };
        assert_eq!((state.by_server[0], state.by_class[usize::from(class)]), (expected, expected));
        drop(state);
        assert_eq!(model.admission().tallies(0).of(3).admitted(), 2);
        assert_eq!(model.admission().entry(0).open[3], 1, "the program counts its own as open");
    }

    #[test]
    fn only_servers_that_may_be_chosen_are_published() {
        let model = model();
        let candidates = |owner| model.lock().choices.candidates(owner);
        model.set_entry(ServerId(0), entry(11));
        model.set_entry(ServerId(1), entry(12));
        assert!(candidates(0).is_empty(), "silent as yet");
        model.accept(&report("server2", 1), 1_000_000).unwrap();
        assert_eq!((candidates(0), candidates(1)), (vec![1], vec![1]));
        model.accept(&report("server1", 1), 1_000_000).unwrap();
        assert_eq!((candidates(0), candidates(1)), (vec![0, 1], vec![1]));
        model.set_entry(ServerId(1), ServerEntry::default());
        assert_eq!((candidates(0), candidates(1)), (vec![0], vec![]));
    }

    #[test]
    fn an_overloaded_service_lets_in_who_is_better_than_the_lowest() {
        let text = r#"
            secret = "0123456789abcdef"
            interface = "eth0"
            [[server]]
            name = "server1"
            address = "198.18.0.11"
            [[service]]
            name = "web"
            vip = ["198.18.0.100"]
            port = 80
            [service.admission]
            connection_limit = 2
        "#;
        let model = model_of(&FrontConfig::parse(text, "front.toml").unwrap());
        model.set_entry(ServerId(0), entry(11));
        model.accept(&report("server1", 1), 1_000_000).unwrap();
        let first = dispatch(&model, 0, "/a").unwrap();
        assert_eq!(dispatch(&model, 0, "/a").unwrap().evict_below, None);
        assert!(matches!(judge(&model, 0, "/a"), Judgement::Refused(_)), "equals do not make room");
        model.members().add(0, "198.18.0.0/24 * - 6".parse().unwrap()).unwrap();
        let better = dispatch(&model, 0, "/a").unwrap();
        assert_eq!((better.priority, better.evict_below), (6, Some(6)));
        model.evicted(0, first.priority);
        assert_eq!(model.admission().entry(0).open, [0, 0, 0, 1, 0, 0, 1, 0]);
        model.closed(0, 6);
        assert_eq!(dispatch(&model, 0, "/a").unwrap().evict_below, None);
    }
}

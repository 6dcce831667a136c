//! The cluster model as the daemon shares it: one lock around the decision core's servers and policies. Slow-path threads ask
//! it for decisions; reports, neighbour look-up and listings reach it from the control plane's thread.

mod requests;
mod sharing;
#[cfg(test)]
pub(super) mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispatcher_common::{
    address::Address, admission::Ruling, filter::FlowKey, server::ServerEntry, tuple::Tuple,
};
use dispatcher_core::{
    admission::{Overload, Pressure, Victim},
    class::ClassMap,
    cluster::{Accepted, Cluster, ReportRefused, SILENT_PERIODS},
    config::{FrontConfig, ServiceConfig},
    http::RequestHead,
    ids::{Priority, ServerId},
    policy::{Outcome, Policy, UnknownPolicy},
    report::Report,
};

use super::{
    admission::Admission,
    choice::Choices,
    counters::ControlCounters,
    dispatch::{Decision, Dispatch, Flow, Further, Judgement, Refusal},
    kept::KeptRequests,
    members::Members,
};
use requests::stay;

/// What was dispatched, to a server or of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub dispatched: u64,
    /// To the class's own server.
    pub hits: u64,
    /// To another, because the class's own was too busy.
    pub moved: u64,
    /// On connections that were there before.
    pub further: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome, is_further: bool) {
        self.dispatched += 1;
        self.further += u64::from(is_further);
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
    /// By server: requests on kept connections that went there without a decision.
    pub undecided: Vec<u64>,
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
                undecided: vec![0; config.servers.len()],
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

    /// The data-plane services of a configured one.
    pub fn data_plane_ids(&self, owner: usize) -> impl Iterator<Item = u16> {
        let doors = self.doors.iter().zip(0..);
        doors.filter(move |(door, _)| door.owner == owner).map(|(_, id)| id)
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
        let (request, known) = self.read(owner, client, head);
        let priority = request.priority;
        let now = self.now();
        let state = &mut *self.lock();
        self.look_ahead(state, owner, now);
        let evict_below = match self.admission.judge(owner, priority, client.ip(), now) {
            Ruling::Admit => None,
            Ruling::Evict(_) => Some(priority.get()),
            Ruling::Refuse => return Judgement::Refused(self.admission.refused(owner, priority)),
        };
        let Some(choice) = self.choose(state, owner, request, now) else { return Judgement::NoServer };
        state.tally(request.class, choice, false);
        state.add_load(request.class, choice.server, now);
        state.tell(owner, request.class);
        self.admission.admitted(owner, priority);
        Judgement::Dispatched(Decision {
            server: choice.server.0,
            class: request.class.0,
            priority: priority.get(),
            entry: state.entries[choice.server.index()],
            evict_below,
            known,
            per_request: self.services[owner].config.per_request,
        })
    }

    fn further(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>, flow: &Flow) -> Further {
        match self.owner(service) {
            Some(owner) => self.judge_further(owner, client, head, flow),
            None => Further::Dispatched(stay(flow)),
        }
    }

    fn continued(&self, server: u16, requests: u32) {
        self.lock().continued(ServerId(server), requests.into());
    }

    fn reprioritised(&self, service: u16, before: u8, after: u8) {
        if let Some(owner) = self.owner(service) {
            self.admission.reprioritised(owner, before, after);
        }
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

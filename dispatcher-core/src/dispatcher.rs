//! The whole decision of a front-end: services, their classes and policies, on one model of the cluster. Owns the tallies
//! of what was decided; frames, sockets and maps are the daemon's.

use std::time::Duration;

use rand::Rng;

use crate::{
    class::ClassMap,
    cluster::{Accepted, Cluster, ReportRefused},
    config::FrontConfig,
    http::RequestHead,
    ids::{ClassId, Priority, ServerId, ServiceIndex},
    policy::{Classified, Outcome, Policy, UnknownPolicy},
    report::Report,
};

/// Where a request goes, and what its ticket and filter say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The server.
    pub server: ServerId,
    /// The request's class.
    pub class: ClassId,
    /// The request's priority.
    pub priority: Priority,
    /// How the server relates to the class.
    pub outcome: Outcome,
}

/// Requests by the outcome of their choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All.
    pub dispatched: u64,
    /// To the class's own server.
    pub hits: u64,
    /// Away from it, because it was too busy.
    pub moved: u64,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        self.dispatched += 1;
        self.hits += u64::from(outcome == Outcome::Hit);
        self.moved += u64::from(outcome == Outcome::Moved);
    }
}

/// One line of the bind-table's listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindRow {
    /// The service.
    pub service: ServiceIndex,
    /// The class.
    pub class: ClassId,
    /// The class's name.
    pub class_name: String,
    /// The server it is bound to.
    pub server: Option<ServerId>,
    /// What was decided for it.
    pub tally: Tally,
}

#[derive(Debug)]
struct Service {
    members: Vec<ServerId>,
    classes: ClassMap,
    priority: Priority,
    policy: Box<dyn Policy>,
    tallies: Vec<Tally>,
}

/// Decides for all services of a front-end.
#[derive(Debug)]
pub struct Dispatcher {
    cluster: Cluster,
    services: Vec<Service>,
    tallies: Vec<Tally>,
}

impl Dispatcher {
    /// Builds the model from a checked configuration; all servers are silent until they report.
    ///
    /// # Errors
    /// When a service names a policy that does not exist, which [`FrontConfig::parse`] has ruled out.
    pub fn new(config: &FrontConfig) -> Result<Self, UnknownPolicy> {
        let names = config.servers.iter().map(|server| server.name.clone());
        let mut services = Vec::new();
        for service in &config.services {
            services.push(Service {
                members: service.servers.clone(),
                classes: service.class_map(),
                priority: service.priority,
                policy: service.policy.build(service.class_base, service.class_count())?,
                tallies: vec![Tally::default(); service.class_count()],
            });
        }
        let cluster = Cluster::new(names, config.class_count(), config.report_interval);
        Ok(Self { cluster, services, tallies: vec![Tally::default(); config.servers.len()] })
    }

    /// The classes of a service. They never change, so threads may keep a clone and classify without a lock.
    #[must_use]
    pub fn classes(&self, service: ServiceIndex) -> Option<&ClassMap> {
        self.services.get(service.index()).map(|service| &service.classes)
    }

    /// Classifies a request and chooses its server, which counts in that server's load at once. `None` when no
    /// server of the service can take it.
    pub fn decide(
        &mut self,
        service: ServiceIndex,
        head: &RequestHead<'_>,
        now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Decision> {
        let class = self.classes(service)?.classify(head);
        self.decide_class(service, class, now, rng)
    }

    /// [`decide`](Self::decide) for a request that was classified before.
    pub fn decide_class(
        &mut self,
        service: ServiceIndex,
        class: ClassId,
        now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Decision> {
        let Service { members, classes, priority, policy, tallies } =
            self.services.get_mut(service.index())?;
        let request = Classified { class, priority: *priority };
        let choice = policy.choose(request, &self.cluster.view(members), now, rng)?;
        self.cluster.dispatched(choice.server, class, now);
        let local = class.index().checked_sub(classes.base().index());
        if let Some(tally) = local.and_then(|local| tallies.get_mut(local)) {
            tally.count(choice.outcome);
        }
        self.tallies[choice.server.index()].count(choice.outcome);
        Some(Decision { server: choice.server, class, priority: *priority, outcome: choice.outcome })
    }

    /// Takes a genuine report and lets the policies learn from it. `now_wall_ms` is the wall clock in ms since 1970.
    ///
    /// # Errors
    /// When the report is of an unknown server, or not fresh.
    pub fn report(
        &mut self,
        report: &Report,
        now: Duration,
        now_wall_ms: u64,
    ) -> Result<Accepted, ReportRefused> {
        let accepted = self.cluster.accept(report, now, now_wall_ms)?;
        for service in &mut self.services {
            let view = self.cluster.view(&service.members);
            service.policy.reported(accepted.server, &accepted.classes, &view);
        }
        Ok(accepted)
    }

    /// The model of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The model of the cluster, for silence, MAC addresses, draining and boots known from before.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// What was decided for a server.
    #[must_use]
    pub fn tally(&self, server: ServerId) -> Tally {
        self.tallies.get(server.index()).copied().unwrap_or_default()
    }

    /// All classes of all services with what they are bound to.
    pub fn bind_table(&self) -> impl Iterator<Item = BindRow> {
        self.services.iter().enumerate().flat_map(|(index, service)| {
            service.classes.classes().zip(&service.tallies).map(move |(class, &tally)| BindRow {
                service: ServiceIndex(index as u16),
                class,
                class_name: service.classes.name(class).unwrap_or_default(),
                server: service.policy.bound_server(class),
                tally,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg32;

    use super::*;
    use crate::http::{Head, parse_head};

    const WALL_MS: u64 = 1_800_000_000_000;
    const WEB: ServiceIndex = ServiceIndex(0);
    const CONFIG: &str = r#"
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
        vip = ["198.18.0.100"]
        port = 80
        [[service.class]]
        name = "images"
        path_prefix = "/images/"
        [[service]]
        name = "api"
        vip = ["198.18.0.101"]
        port = 80
        servers = ["server2"]
        policy = "round-robin"
        priority = 5
    "#;

    fn dispatcher() -> Dispatcher {
        let config = FrontConfig::parse(CONFIG, "front.toml").unwrap();
        let mut dispatcher = Dispatcher::new(&config).unwrap();
        for id in [ServerId(0), ServerId(1)] {
            dispatcher.cluster_mut().set_mac_known(id, true);
        }
        dispatcher
    }

    fn report(dispatcher: &mut Dispatcher, server: &str, sequence: u64) {
        let report = Report {
            server: server.into(),
            boot_id: 1,
            sequence,
            sent_at_ms: WALL_MS,
            queue: 0,
            load_us: 0,
            accepted: 0,
            connections: 0,
            cpu_permille: 0,
            listen_overflows: 0,
            classes: vec![],
        };
        dispatcher.report(&report, Duration::ZERO, WALL_MS).unwrap();
    }

    fn decide(dispatcher: &mut Dispatcher, service: ServiceIndex, path: &str) -> Option<Decision> {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Head::Complete(head) = parse_head(text.as_bytes(), 1000) else { panic!("{text}") };
        dispatcher.decide(service, &head, Duration::ZERO, &mut Pcg32::seed_from_u64(1))
    }

    #[test]
    fn a_decision_needs_a_server_that_has_reported() {
        let mut dispatcher = dispatcher();
        assert_eq!(decide(&mut dispatcher, WEB, "/"), None);
        report(&mut dispatcher, "server1", 1);
        assert_eq!(decide(&mut dispatcher, ServiceIndex(1), "/"), None, "server1 is no member of api");
        assert_eq!(decide(&mut dispatcher, ServiceIndex(2), "/"), None);
        assert_eq!(decide(&mut dispatcher, WEB, "/").unwrap().server, ServerId(0));
    }

    #[test]
    fn decisions_count_in_load_and_listings_at_once() {
        let mut dispatcher = dispatcher();
        report(&mut dispatcher, "server1", 1);
        report(&mut dispatcher, "server2", 1);
        let first = decide(&mut dispatcher, WEB, "/images/a").unwrap();
        assert_eq!((first.class, first.outcome, first.priority.get()), (ClassId(0), Outcome::Unbound, 3));
        assert_eq!(decide(&mut dispatcher, WEB, "/images/b").unwrap().outcome, Outcome::Hit);
        assert_eq!(dispatcher.cluster().servers()[first.server.index()].held(ClassId(0)), 2);
        let api = decide(&mut dispatcher, ServiceIndex(1), "/").unwrap();
        assert_eq!((api.server, api.priority.get()), (ServerId(1), 5));
        assert!(api.class.0 >= 21);
        let tally = Tally { dispatched: 2, hits: 1, moved: 0 };
        assert_eq!(dispatcher.tally(first.server), tally);
        let rows: Vec<_> = dispatcher.bind_table().collect();
        assert_eq!(rows.len(), 41);
        let (row, last) = (&rows[0], &rows[40]);
        assert_eq!((row.class_name.as_str(), row.server, row.tally), ("images", Some(first.server), tally));
        assert_eq!(
            (last.service, last.class, last.class_name.as_str()),
            (ServiceIndex(1), ClassId(40), "hash-19")
        );
    }
}

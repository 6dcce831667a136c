//! What a front-end answers on its control socket: the rows of `dispatcher show`, and by their own modules of `members` and
//! `why`.

mod admission;
mod filters;
mod members;
mod why;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use aya::maps::{MapData, MapError, PerCpuArray};
use dispatcher_common::{
    admission::PriorityStats,
    counter::{ControlCounter, FrontCounter},
    server::Traffic,
};
use dispatcher_core::{
    cluster::Server,
    config::{MacAddress, ServerConfig},
    ids::{ClassId, ServerId},
    policy::Policy,
};
use serde::Serialize;

use super::{
    FilterTable,
    census::SourceOpen,
    counters::ControlCounters,
    model::{Model, Service, State, Tally},
    slow_path::ClassCache,
};
use crate::{
    control_socket::{Answer, Reply, Request, Subject},
    listing::CounterRow,
};

/// Everything that can be shown.
pub struct Status {
    pub model: Arc<Model>,
    pub servers: Vec<ServerConfig>,
    pub filters: FilterTable,
    pub control_counters: Arc<ControlCounters>,
    /// The COUNTERS map.
    pub front_counters: PerCpuArray<MapData, u64>,
    /// The SERVER_TRAFFIC map.
    pub traffic: PerCpuArray<MapData, Traffic>,
    /// The PRIORITY_STATS map.
    pub priority_stats: PerCpuArray<MapData, PriorityStats>,
    pub source_open: SourceOpen,
    /// Unless it is off.
    pub class_cache: Option<ClassCache>,
    /// Longest head of a request in bytes.
    pub head_limit: usize,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("servers", &self.servers).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
struct ServerRow<'a> {
    id: u16,
    name: &'a str,
    address: IpAddr,
    mac: Option<String>,
    state: &'static str,
    queue: u32,
    load_us: u64,
    requests_by_class: BTreeMap<u16, u32>,
    service_us_by_class: BTreeMap<u16, u64>,
    connections: u32,
    cpu_percent: f64,
    listen_overflows: u64,
    dispatched: u64,
    hits: u64,
    moved: u64,
    /// Of the dispatched ones, those on kept connections.
    further: u64,
    /// Requests on kept connections that nobody decided about: pipelined, or of connections that are not followed.
    undecided: u64,
    packets: u64,
    bytes: u64,
    report_age_ms: Option<u64>,
    /// In hexadecimal: JSON readers lose bits of large numbers.
    boot_id: Option<String>,
}

/// Where requests are at home: a class, or with a weighted table a server's part of all targets, or a hot target.
#[derive(Debug, Default, Serialize)]
struct BindRow<'a> {
    service: &'a str,
    class: Option<u16>,
    class_name: Option<String>,
    /// Hash of a hot target, in hexadecimal.
    target: Option<String>,
    server: Option<&'a str>,
    /// Of the server among those of the service; the mean is 1.
    weight: Option<f64>,
    /// Requests for the target; 1 is a server's fair share of all.
    share: Option<f64>,
    dispatched: Option<u64>,
    hits: Option<u64>,
    moved: Option<u64>,
    /// Of the dispatched ones, those on kept connections.
    further: Option<u64>,
}

impl Answer for Status {
    fn answer(&self, request: &Request) -> Reply {
        let show = match request {
            Request::Show(show) => show,
            Request::Members(request) => return members::answer(self.model.members(), request),
            Request::Why(request) => return self.why(request),
        };
        match show.what {
            Subject::Servers => self.server_rows(),
            Subject::BindTable => self.bind_table(),
            Subject::Filters => self.filter_rows(show),
            Subject::Counters => self.counter_rows(),
            Subject::Admission => self.admission_rows(),
            Subject::Priorities => self.priority_rows(),
        }
    }
}

impl Status {
    fn server_rows(&self) -> Reply {
        let state = self.model.current();
        let rows = self.servers.iter().zip(state.cluster.servers());
        Reply::of(rows.map(|(config, server)| self.server_row(&state, config, server)))
    }

    fn server_row<'a>(&self, state: &State, config: &'a ServerConfig, server: &Server) -> ServerRow<'a> {
        let id = server.id();
        let classes = || (0..state.by_class.len() as u16).map(ClassId);
        let held = classes().map(|class| (class.0, server.held(class))).filter(|(_, held)| *held > 0);
        let measured = classes().filter_map(|class| {
            Some((class.0, state.cluster.measured_service_time(id, class)?.as_micros() as u64))
        });
        let entry = state.entries[id.index()];
        let Tally { dispatched, hits, moved, further } = state.by_server[id.index()];
        let report = server.last_report();
        let traffic = self.traffic(id).unwrap_or_default();
        ServerRow {
            id: id.0,
            name: &config.name,
            address: config.address,
            mac: (entry.usable != 0).then(|| MacAddress(entry.mac).to_string()),
            state: server.health().name(),
            queue: server.queue(),
            load_us: server.load().as_micros() as u64,
            requests_by_class: held.collect(),
            service_us_by_class: measured.collect(),
            connections: server.connections(),
            cpu_percent: report.map_or(0.0, |report| f64::from(report.cpu_permille) / 10.0),
            listen_overflows: report.map_or(0, |report| report.listen_overflows),
            dispatched,
            hits,
            moved,
            further,
            undecided: state.undecided[id.index()],
            packets: traffic.packets,
            bytes: traffic.bytes,
            report_age_ms: server.report_age(self.model.now()).map(|age| age.as_millis() as u64),
            boot_id: report.map(|report| format!("{:016x}", report.boot_id)),
        }
    }

    fn traffic(&self, server: ServerId) -> Result<Traffic, MapError> {
        let values = self.traffic.get(&(server.index() as u32), 0)?;
        Ok(values.iter().fold(Traffic::default(), |sum, one| Traffic {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
        }))
    }

    fn bind_table(&self) -> Reply {
        let state = self.model.current();
        let services = self.model.services().iter().zip(&state.policies);
        Reply::of(services.flat_map(|(service, policy)| {
            let weights = self.weight_rows(service, policy.as_ref());
            let classes = service.classes.classes();
            weights
                .into_iter()
                .chain(classes.map(|class| self.class_row(&state, service, policy.as_ref(), class)))
        }))
    }

    fn class_row<'a>(
        &'a self,
        state: &State,
        service: &'a Service,
        policy: &dyn Policy,
        class: ClassId,
    ) -> BindRow<'a> {
        let Tally { dispatched, hits, moved, further } =
            state.by_class.get(class.index()).copied().unwrap_or_default();
        BindRow {
            service: &service.config.name,
            class: Some(class.0),
            class_name: service.classes.name(class),
            server: policy.bound_server(class).and_then(|server| self.server_name(server.0)),
            dispatched: Some(dispatched),
            hits: Some(hits),
            moved: Some(moved),
            further: Some(further),
            ..BindRow::default()
        }
    }

    /// What a weighted table has instead of a server for each class. Requests are not counted by server and service, nor by
    /// target, but by class in the rows after these.
    fn weight_rows<'a>(&'a self, service: &'a Service, policy: &dyn Policy) -> Vec<BindRow<'a>> {
        let row = || BindRow { service: &service.config.name, ..BindRow::default() };
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let server = |id: ServerId| self.server_name(id.0);
        let weights = service.config.servers.iter().filter_map(|&id| {
            Some(BindRow { server: server(id), weight: Some(round(policy.weight(id)?)), ..row() })
        });
        let hot = policy.hot_homes().into_iter().map(|hot| BindRow {
            target: Some(format!("{:016x}", hot.target)),
            server: server(hot.server),
            share: Some(round(hot.share)),
            ..row()
        });
        weights.chain(hot).collect()
    }

    fn server_name(&self, index: u16) -> Option<&str> {
        self.servers.get(usize::from(index)).map(|server| server.name.as_str())
    }

    fn counter_rows(&self) -> Reply {
        let front = FrontCounter::ALL.iter().map(|counter| {
            let values = self.front_counters.get(&counter.index(), 0)?;
            Ok(CounterRow { name: counter.name(), value: values.iter().sum(), help: counter.help() })
        });
        let control = ControlCounter::ALL.iter().map(|counter| CounterRow {
            name: counter.name(),
            value: self.control_counters.get(*counter),
            help: counter.help(),
        });
        match front.collect::<Result<Vec<_>, MapError>>() {
            Ok(front) => Reply::of(front.into_iter().chain(control)),
            Err(error) => Reply::refuse(format_args!("the counters cannot be read: {error}")),
        }
    }
}

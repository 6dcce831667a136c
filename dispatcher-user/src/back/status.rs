//! The rows of `dispatcher show` at a server.

use std::{collections::BTreeMap, io, net::IpAddr, sync::Arc};

use dispatcher_common::{
    counter::BackCounter,
    filter::FlowKey,
    server::{ServerFlow, framing, phase},
};
use dispatcher_core::{config::BackConfig, report::Report};
use serde::Serialize;

use super::{
    Shared,
    flows::{FlowTable, under_way},
    program,
    reporter::{Counters, count},
};
use crate::{
    control_socket::{Answer, DEFAULT_LIMIT, Reply, Request, Subject},
    kernel::clock,
    listing::CounterRow,
};

/// Everything that can be shown.
pub(super) struct Status {
    /// VIPs and ports by service number.
    endpoints: Vec<(IpAddr, u16)>,
    report: Shared<Option<Report>>,
    counters: Arc<Counters>,
    flows: FlowTable,
}

#[derive(Debug, Serialize)]
struct ServerRow {
    name: String,
    queue: u32,
    load_us: u64,
    requests_by_class: BTreeMap<u16, u32>,
    service_us_by_class: BTreeMap<u16, u32>,
    connections: u32,
    cpu_percent: f64,
    listen_overflows: u64,
    accepted: u64,
    report_age_ms: u64,
    /// In hexadecimal: JSON readers lose bits of large numbers.
    boot_id: String,
}

#[derive(Debug, Serialize)]
struct FlowRow {
    client: IpAddr,
    port: u16,
    vip: Option<IpAddr>,
    vip_port: Option<u16>,
    class: u16,
    phase: &'static str,
    /// Requests whose response has not begun.
    under_way: u8,
    /// How far the responses are followed.
    responses: &'static str,
    /// Since the latest request arrived.
    request_age_ms: u64,
}

impl Answer for Status {
    fn answer(&self, request: &Request) -> Reply {
        let Request::Show(show) = request else {
            return Reply::refuse("a server has no member-table; ask the front-end");
        };
        match show.what {
            Subject::Servers => Reply::of(self.report.get().map(server_row)),
            Subject::BindTable => Reply::refuse("a server has no bind-table; ask the front-end"),
            Subject::Filters => self.flow_rows(show.limit.unwrap_or(DEFAULT_LIMIT)),
            Subject::Counters => self.counter_rows(),
            Subject::Admission | Subject::Priorities => {
                Reply::refuse("a server admits what its front-end hands over; ask the front-end")
            }
        }
    }
}

impl Status {
    pub(super) fn new(
        config: &BackConfig,
        report: Shared<Option<Report>>,
        counters: Arc<Counters>,
        flows: FlowTable,
    ) -> Self {
        Self { endpoints: program::endpoints(config).collect(), report, counters, flows }
    }

    fn flow_rows(&self, limit: usize) -> Reply {
        let found = match self.flows.some(limit.saturating_add(1)) {
            Ok(found) => found,
            Err(error) => return Reply::refuse(format_args!("the flows cannot be read: {error}")),
        };
        let now_ns = clock::monotonic_ns();
        let rows = found.iter().take(limit).map(|(key, flow)| self.flow_row(key, flow, now_ns));
        Reply { cut: found.len() > limit, ..Reply::of(rows) }
    }

    fn flow_row(&self, key: &FlowKey, flow: &ServerFlow, now_ns: u64) -> FlowRow {
        let endpoint = self.endpoints.get(usize::from(key.service()));
        FlowRow {
            client: key.client.into(),
            port: u16::from_be(key.client_port_be()),
            vip: endpoint.map(|(vip, _)| *vip),
            vip_port: endpoint.map(|(_, port)| *port),
            class: flow.class,
            phase: phase::name(flow.phase),
            under_way: under_way(flow),
            responses: framing::name(flow.framing),
            request_age_ms: now_ns.saturating_sub(flow.last_seen_ns) / 1_000_000,
        }
    }

    fn counter_rows(&self) -> Reply {
        let row = |counter: &BackCounter| {
            let value = count(&self.counters, *counter)?;
            Ok(CounterRow { name: counter.name(), value, help: counter.help() })
        };
        match BackCounter::ALL.iter().map(row).collect::<io::Result<Vec<_>>>() {
            Ok(rows) => Reply::of(rows),
            Err(error) => Reply::refuse(format_args!("the counters cannot be read: {error}")),
        }
    }
}

fn server_row(report: Report) -> ServerRow {
    let held = report.classes.iter().filter(|class| class.held > 0);
    let measured = report.classes.iter().filter(|class| class.service_us > 0);
    ServerRow {
        queue: report.queue,
        load_us: report.load_us,
        requests_by_class: held.map(|class| (class.class, class.held)).collect(),
        service_us_by_class: measured.map(|class| (class.class, class.service_us)).collect(),
        connections: report.connections,
        cpu_percent: f64::from(report.cpu_permille) / 10.0,
        listen_overflows: report.listen_overflows,
        accepted: report.accepted,
        report_age_ms: (clock::wall_ns() / 1_000_000).saturating_sub(report.sent_at_ms),
        boot_id: format!("{:016x}", report.boot_id),
        name: report.server,
    }
}

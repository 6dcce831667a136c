//! The front-end's configuration file. Owns its top level, `[slow_path]`, `[timeouts]`, and what holds across services:
//! VIPs, class numbers, limits.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use dispatcher_common::limits::{MAX_CLASSES, MAX_SERVICES};
use serde::Deserialize;
use toml::Spanned;

use super::{
    address,
    admission::AdmissionFile,
    defaults,
    error::{ConfigError, Source},
    quantity::{Period, Size, within},
    secret_source::{self, SecretSource},
    server::{self, ServerConfig, ServerFile},
    service::{self, ServiceConfig, ServiceFile},
};
use crate::ids::ClassId;

/// Range of every time-out.
const TIMEOUTS: std::ops::RangeInclusive<Period> =
    Period(Duration::from_millis(100))..=Period(Duration::from_secs(24 * 3600));

/// Range of `report_interval`, for both roles.
pub(super) const INTERVALS: std::ops::RangeInclusive<Period> =
    Period(Duration::from_millis(10))..=Period(Duration::from_secs(10));

/// How the XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver.
    #[default]
    Native,
    /// In the kernel's generic hook, for drivers without native XDP.
    Skb,
}

/// `[slow_path]`: bounds of collecting request heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowPathConfig {
    /// Longest head in bytes.
    pub head_limit: usize,
    /// Longest time for a head to be complete.
    pub head_timeout: Duration,
    /// Most flows whose head is being collected.
    pub max_collecting: usize,
    /// Most bytes of all heads being collected.
    pub collect_memory: usize,
}

/// `[timeouts]`: how long a filter lives without packets, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Request not dispatched yet.
    pub pending: Duration,
    /// Handed off.
    pub established: Duration,
    /// FIN or RST seen.
    pub closing: Duration,
    /// Answered by the front-end itself.
    pub answered: Duration,
}

/// Configuration of a front-end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontConfig {
    /// The cluster secret.
    pub secret: SecretSource,
    /// Client side.
    pub interface: String,
    /// Server side, if it is another one (two-arm).
    pub server_interface: Option<String>,
    /// How XDP is attached.
    pub mode: Mode,
    /// Directory of pinned maps and links.
    pub pin_path: PathBuf,
    /// Unix socket of `dispatcher show`.
    pub control_socket: PathBuf,
    /// Where reports arrive.
    pub report_listen: SocketAddr,
    /// Interval at which servers report.
    pub report_interval: Duration,
    /// Size of the filter-table.
    pub max_filters: u32,
    /// Size of the table of sources with limits.
    pub max_sources: u32,
    /// Entries of the class cache; 0 for none.
    pub class_cache: u32,
    /// Bounds of the slow path.
    pub slow_path: SlowPathConfig,
    /// Time-outs of filters.
    pub timeouts: Timeouts,
    /// Servers; a server's position is its id.
    pub servers: Vec<ServerConfig>,
    /// Services.
    pub services: Vec<ServiceConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontFile {
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    interface: Spanned<String>,
    server_interface: Option<Spanned<String>>,
    #[serde(default)]
    mode: Mode,
    pin_path: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    report_listen: Option<address::Socket>,
    report_interval: Option<Spanned<Period>>,
    max_filters: Option<Spanned<i64>>,
    max_sources: Option<Spanned<i64>>,
    class_cache: Option<Spanned<i64>>,
    #[serde(default)]
    slow_path: SlowPathFile,
    #[serde(default)]
    timeouts: TimeoutsFile,
    admission: Option<AdmissionFile>,
    #[serde(default)]
    server: Vec<ServerFile>,
    #[serde(default)]
    service: Vec<ServiceFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlowPathFile {
    head_limit: Option<Spanned<Size>>,
    head_timeout: Option<Spanned<Period>>,
    max_collecting: Option<Spanned<i64>>,
    collect_memory: Option<Spanned<Size>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutsFile {
    pending: Option<Spanned<Period>>,
    established: Option<Spanned<Period>>,
    closing: Option<Spanned<Period>>,
    answered: Option<Spanned<Period>>,
}

impl FrontConfig {
    /// Reads the text of a front-end's file; `file` names it in errors.
    ///
    /// # Errors
    /// The first mistake, with its line and what to do.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let source = Source { text, file };
        let raw: FrontFile = source.parse()?;
        let interface = address::interface(source, "interface", &raw.interface)?;
        let server_interface = raw.server_interface.as_ref();
        let server_interface =
            server_interface.map(|name| address::interface(source, "server_interface", name));
        let interval = Period(defaults::REPORT_INTERVAL);
        let slow_path = slow_path(source, raw.slow_path)?;
        let servers = server::convert(source, raw.server)?;
        if servers.is_empty() {
            return Err(source.whole("no server is defined; add a [[server]]"));
        }
        Ok(Self {
            secret: secret_source::choose(source, raw.secret, raw.secret_file)?,
            server_interface: server_interface.transpose()?.filter(|name| *name != interface),
            interface,
            mode: raw.mode,
            pin_path: raw.pin_path.unwrap_or_else(|| defaults::FRONT_PIN_PATH.into()),
            control_socket: raw.control_socket.unwrap_or_else(|| defaults::FRONT_CONTROL_SOCKET.into()),
            report_listen: raw.report_listen.map_or_else(defaults::report_listen, |socket| socket.0),
            report_interval: within(source, "report_interval", raw.report_interval, interval, INTERVALS)?.0,
            max_filters: within(source, "max_filters", raw.max_filters, defaults::MAX_FILTERS, 1..=1 << 26)?
                as u32,
            max_sources: within(source, "max_sources", raw.max_sources, defaults::MAX_SOURCES, 1..=1 << 22)?
                as u32,
            class_cache: within(source, "class_cache", raw.class_cache, defaults::CLASS_CACHE, 0..=1 << 22)?
                as u32,
            timeouts: timeouts(source, raw.timeouts, slow_path.head_timeout)?,
            slow_path,
            services: services(source, raw.service, &servers, raw.admission.as_ref())?,
            servers,
        })
    }

    /// Classes of all services together.
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.services.iter().map(ServiceConfig::class_count).sum()
    }
}

fn slow_path(source: Source<'_>, file: SlowPathFile) -> Result<SlowPathConfig, ConfigError> {
    let limit = Size(defaults::HEAD_LIMIT_BYTES);
    let head_limit = within(source, "head_limit", file.head_limit, limit, Size(512)..=Size(65_536))?;
    let timeout = Period(defaults::HEAD_TIMEOUT);
    let memory = Size(defaults::COLLECT_MEMORY_BYTES);
    let collect_memory =
        within(source, "collect_memory", file.collect_memory, memory, head_limit..=Size(64 << 30))?;
    let most = defaults::MAX_COLLECTING;
    Ok(SlowPathConfig {
        head_limit: head_limit.0 as usize,
        head_timeout: within(source, "head_timeout", file.head_timeout, timeout, TIMEOUTS)?.0,
        max_collecting: within(source, "max_collecting", file.max_collecting, most, 1..=1 << 20)? as usize,
        collect_memory: collect_memory.0 as usize,
    })
}

/// A pending filter must outlive the collecting of its head.
fn timeouts(source: Source<'_>, file: TimeoutsFile, head_timeout: Duration) -> Result<Timeouts, ConfigError> {
    let pending_span = file.pending.as_ref().map_or(0..0, Spanned::span);
    let pending = within(source, "pending", file.pending, Period(defaults::PENDING), TIMEOUTS)?.0;
    if pending < head_timeout {
        let message = format!(
            "timeouts.pending is {}, shorter than slow_path.head_timeout, {}; raise it or lower that",
            Period(pending),
            Period(head_timeout)
        );
        return Err(source.error(pending_span, message));
    }
    Ok(Timeouts {
        pending,
        established: within(
            source,
            "established",
            file.established,
            Period(defaults::ESTABLISHED),
            TIMEOUTS,
        )?
        .0,
        closing: within(source, "closing", file.closing, Period(defaults::CLOSING), TIMEOUTS)?.0,
        answered: within(source, "answered", file.answered, Period(defaults::ANSWERED), TIMEOUTS)?.0,
    })
}

fn services(
    source: Source<'_>,
    files: Vec<ServiceFile>,
    servers: &[ServerConfig],
    admission: Option<&AdmissionFile>,
) -> Result<Vec<ServiceConfig>, ConfigError> {
    if files.is_empty() {
        return Err(source.whole("no service is defined; add a [[service]]"));
    }
    admission.map_or(Ok(()), |admission| admission.check(source))?;
    let mut entries = Entries::default();
    let mut services: Vec<ServiceConfig> = Vec::new();
    let mut classes = 0;
    for file in files {
        let (name_span, vip_spans) = (file.name.span(), spans(&file.vip));
        let service = service::convert(source, file, servers, ClassId(classes as u16), admission)?;
        if services.iter().any(|other| other.name == service.name) {
            let message = format!("service {:?} is defined twice; rename one", service.name);
            return Err(source.error(name_span, message));
        }
        classes += service.class_count();
        if classes > MAX_CLASSES {
            let message =
                format!("services have {classes} classes up to here, above {MAX_CLASSES}; lower classes");
            return Err(source.error(name_span, message));
        }
        entries.add(source, &service.name, &service.vips, service.port, vip_spans)?;
        services.push(service);
    }
    Ok(services)
}

pub(super) fn spans(list: &Spanned<Vec<Spanned<String>>>) -> Vec<std::ops::Range<usize>> {
    list.get_ref().iter().map(Spanned::span).collect()
}

/// The pairs of VIP and port so far: each is one entry of the data plane and belongs to one service.
#[derive(Debug, Default)]
pub(super) struct Entries(HashMap<(IpAddr, u16), String>);

impl Entries {
    pub(super) fn add(
        &mut self,
        source: Source<'_>,
        service: &str,
        vips: &[IpAddr],
        port: u16,
        spans: Vec<std::ops::Range<usize>>,
    ) -> Result<(), ConfigError> {
        for (&vip, span) in vips.iter().zip(spans) {
            if let Some(other) = self.0.insert((vip, port), service.to_owned()) {
                let message =
                    format!("vip {vip} with port {port} belongs to service {other:?} already; remove one");
                return Err(source.error(span, message));
            }
            if self.0.len() > MAX_SERVICES {
                let message =
                    format!("more than {MAX_SERVICES} pairs of VIP and port; use another front-end");
                return Err(source.error(span, message));
            }
        }
        Ok(())
    }
}

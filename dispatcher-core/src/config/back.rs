//! The configuration file of a server's agent (role `back`).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    address, defaults,
    error::{ConfigError, Source},
    front::{Entries, INTERVALS, spans},
    quantity::{Period, within},
    secret_source::{self, SecretSource},
    service,
};

/// One service as a server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackService {
    /// VIPs of both families.
    pub vips: Vec<IpAddr>,
    /// TCP port that the server's software listens on.
    pub port: u16,
}

/// Configuration of a server's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackConfig {
    /// The cluster secret.
    pub secret: SecretSource,
    /// Where the TC programs are attached.
    pub interface: String,
    /// The server's name at the front-end.
    pub name: String,
    /// Front-ends that reports go to.
    pub report_to: Vec<SocketAddr>,
    /// Interval of reports.
    pub report_interval: Duration,
    /// Directory of pinned maps and links.
    pub pin_path: PathBuf,
    /// Unix socket of `dispatcher show`.
    pub control_socket: PathBuf,
    /// Services.
    pub services: Vec<BackService>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackFile {
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    interface: Spanned<String>,
    name: Spanned<String>,
    report_to: Spanned<Vec<address::Socket>>,
    report_interval: Option<Spanned<Period>>,
    pin_path: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    #[serde(default)]
    service: Vec<BackServiceFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackServiceFile {
    vip: Spanned<Vec<Spanned<String>>>,
    port: Spanned<i64>,
}

impl BackConfig {
    /// Reads the text of an agent's file; `file` names it in errors.
    ///
    /// # Errors
    /// The first mistake, with its line and what to do.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let source = Source { text, file };
        let raw: BackFile = source.parse()?;
        if raw.report_to.get_ref().is_empty() {
            return Err(source.error(raw.report_to.span(), "report_to is empty; name a front-end"));
        }
        let interval = Period(defaults::REPORT_INTERVAL);
        Ok(Self {
            secret: secret_source::choose(source, raw.secret, raw.secret_file)?,
            interface: address::interface(source, "interface", &raw.interface)?,
            name: address::name(source, "name", &raw.name)?,
            report_to: raw.report_to.into_inner().into_iter().map(|socket| socket.0).collect(),
            report_interval: within(source, "report_interval", raw.report_interval, interval, INTERVALS)?.0,
            pin_path: raw.pin_path.unwrap_or_else(|| defaults::BACK_PIN_PATH.into()),
            control_socket: raw.control_socket.unwrap_or_else(|| defaults::BACK_CONTROL_SOCKET.into()),
            services: services(source, raw.service)?,
        })
    }
}

fn services(source: Source<'_>, files: Vec<BackServiceFile>) -> Result<Vec<BackService>, ConfigError> {
    if files.is_empty() {
        return Err(source.whole("no service is defined; add a [[service]]"));
    }
    let mut entries = Entries::default();
    let mut services = Vec::new();
    for (position, file) in files.into_iter().enumerate() {
        let spans = spans(&file.vip);
        let vips = service::vips(source, &file.vip, &[])?;
        let port = service::port(source, file.port)?;
        entries.add(source, &format!("number {}", position + 1), &vips, port, spans)?;
        services.push(BackService { vips, port });
    }
    Ok(services)
}

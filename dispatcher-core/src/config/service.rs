//! `[[service]]` and `[[service.class]]` of the front-end's configuration. Owns their defaults and what they may refer
//! to; the numbering of classes over services is `front`'s, the keys of policies are `policy`'s.

use std::{collections::HashSet, net::IpAddr, path::PathBuf};

use dispatcher_common::limits::MAX_PRIORITY;
use serde::Deserialize;
use toml::Spanned;

use super::{
    address,
    admission::AdmissionFile,
    defaults,
    error::{ConfigError, Source},
    policy::{PolicyKeys, TableWord},
    quantity::{Period, Threshold, within},
    server::ServerConfig,
};
use crate::{
    admission::AdmissionSettings,
    class::{ClassKey, ClassMap, ClassRule},
    http::is_token,
    ids::{ClassId, Priority, ServerId},
    policy::PolicySettings,
};

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Name in listings.
    pub name: String,
    /// VIPs of both families; each with the port is one entry of the data plane.
    pub vips: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
    /// Its servers in ascending order.
    pub servers: Vec<ServerId>,
    /// Whether every request of a connection is dispatched, or only the first.
    pub per_request: bool,
    /// Its policy.
    pub policy: PolicySettings,
    /// Named classes, first match wins.
    pub rules: Vec<ClassRule>,
    /// K: hash classes for what no rule names.
    pub hash_classes: u16,
    /// What is hashed.
    pub class_key: ClassKey,
    /// Priority of its requests.
    pub priority: Priority,
    /// Number of its first class.
    pub class_base: ClassId,
    /// File with the rules of its members, which the caller reads and passes to [`parse_rules`](crate::member::parse_rules).
    pub members: Option<PathBuf>,
    /// Name of its signed cookie.
    pub signed_cookie: Option<String>,
    /// Its admission; without, nobody is refused.
    pub admission: Option<AdmissionSettings>,
}

impl ServiceConfig {
    /// The classes of the service.
    #[must_use]
    pub fn class_map(&self) -> ClassMap {
        ClassMap::new(self.class_base, self.rules.clone(), self.hash_classes, self.class_key)
    }

    /// How many classes it has.
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.rules.len() + usize::from(self.hash_classes)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceFile {
    pub(super) name: Spanned<String>,
    pub(super) vip: Spanned<Vec<Spanned<String>>>,
    port: Spanned<i64>,
    servers: Option<Spanned<Vec<Spanned<String>>>>,
    protocol: Option<Spanned<String>>,
    per_request: Option<bool>,
    policy: Option<Spanned<String>>,
    table: Option<Spanned<TableWord>>,
    load_threshold: Option<Spanned<Threshold>>,
    t_low: Option<Spanned<i64>>,
    t_high: Option<Spanned<i64>>,
    max_targets: Option<Spanned<i64>>,
    set_timeout: Option<Spanned<Period>>,
    balance_factor: Option<Spanned<i64>>,
    rif_quantile: Option<Spanned<i64>>,
    probe_pool: Option<Spanned<i64>>,
    classes: Option<Spanned<i64>>,
    class_key: Option<KeyWord>,
    priority: Option<Spanned<i64>>,
    members: Option<Spanned<PathBuf>>,
    signed_cookie: Option<Spanned<String>>,
    admission: Option<AdmissionFile>,
    #[serde(default)]
    class: Vec<ClassFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassFile {
    name: Spanned<String>,
    path_prefix: Option<String>,
    path_suffix: Option<String>,
    host: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyWord {
    Path,
    PathAndQuery,
    HostAndPath,
}

/// Converts one service; `class_base` is the number of its first class.
pub(super) fn convert(
    source: Source<'_>,
    file: ServiceFile,
    servers: &[ServerConfig],
    class_base: ClassId,
    admission: Option<&AdmissionFile>,
) -> Result<ServiceConfig, ConfigError> {
    let most_classes = dispatcher_common::limits::MAX_CLASSES as i64;
    let hash_classes = within(source, "classes", file.classes, defaults::HASH_CLASSES, 1..=most_classes)?;
    let priority =
        within(source, "priority", file.priority, defaults::PRIORITY, 0..=i64::from(MAX_PRIORITY))?;
    Ok(ServiceConfig {
        name: address::name(source, "service name", &file.name)?,
        vips: vips(source, &file.vip, servers)?,
        port: port(source, file.port)?,
        servers: members(source, file.servers, servers)?,
        per_request: per_request(source, file.protocol.as_ref(), file.per_request)?,
        policy: PolicyKeys {
            policy: file.policy,
            table: file.table,
            load_threshold: file.load_threshold,
            t_low: file.t_low,
            t_high: file.t_high,
            max_targets: file.max_targets,
            set_timeout: file.set_timeout,
            balance_factor: file.balance_factor,
            rif_quantile: file.rif_quantile,
            probe_pool: file.probe_pool,
        }
        .convert(source)?,
        rules: rules(source, file.class)?,
        hash_classes: hash_classes as u16,
        class_key: match file.class_key {
            None | Some(KeyWord::Path) => ClassKey::Path,
            Some(KeyWord::PathAndQuery) => ClassKey::PathAndQuery,
            Some(KeyWord::HostAndPath) => ClassKey::HostAndPath,
        },
        priority: Priority::new(priority as u8).unwrap_or(Priority::HIGHEST),
        class_base,
        members: rules_file(source, file.members)?,
        signed_cookie: file.signed_cookie.map(|name| cookie_name(source, name)).transpose()?,
        admission: AdmissionFile::settle(source, file.admission, admission)?,
    })
}

/// The protocol says whether requests can be told apart; HTTP is the only one so far.
fn per_request(
    source: Source<'_>,
    protocol: Option<&Spanned<String>>,
    wanted: Option<bool>,
) -> Result<bool, ConfigError> {
    match protocol {
        Some(protocol) if protocol.get_ref() != defaults::PROTOCOL => {
            let message = format!(
                "protocol {:?} is not supported; write {:?} or remove the key",
                protocol.get_ref(),
                defaults::PROTOCOL
            );
            Err(source.error(protocol.span(), message))
        }
        _ => Ok(wanted.unwrap_or(defaults::PER_REQUEST)),
    }
}

fn rules_file(source: Source<'_>, path: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>, ConfigError> {
    match path {
        Some(path) if path.get_ref().as_os_str().is_empty() => {
            Err(source.error(path.span(), "members is empty; name a file of rules or remove the key"))
        }
        path => Ok(path.map(Spanned::into_inner)),
    }
}

/// A token (RFC 6265 4.1.1).
fn cookie_name(source: Source<'_>, name: Spanned<String>) -> Result<String, ConfigError> {
    let text = name.get_ref();
    if text.is_empty() || !text.bytes().all(is_token) {
        let message = format!(
            "signed_cookie {text:?} is no cookie name; use letters, digits and marks like dash, dot, underscore"
        );
        return Err(source.error(name.span(), message));
    }
    Ok(name.into_inner())
}

/// A TCP port; both roles have it.
pub(super) fn port(source: Source<'_>, port: Spanned<i64>) -> Result<u16, ConfigError> {
    within(source, "port", Some(port), 0, 1..=i64::from(u16::MAX)).map(|port| port as u16)
}

/// VIPs, none of which is a server's own address.
pub(super) fn vips(
    source: Source<'_>,
    texts: &Spanned<Vec<Spanned<String>>>,
    servers: &[ServerConfig],
) -> Result<Vec<IpAddr>, ConfigError> {
    if texts.get_ref().is_empty() {
        return Err(source.error(texts.span(), "vip is empty; list at least one address"));
    }
    let mut vips = Vec::new();
    for text in texts.get_ref() {
        let vip = address::unicast(source, "vip", text)?;
        if let Some(server) = servers.iter().find(|server| server.address == vip) {
            let message =
                format!("vip {vip} is the own address of server {:?}; give one of them another", server.name);
            return Err(source.error(text.span(), message));
        }
        vips.push(vip);
    }
    Ok(vips)
}

fn members(
    source: Source<'_>,
    names: Option<Spanned<Vec<Spanned<String>>>>,
    servers: &[ServerConfig],
) -> Result<Vec<ServerId>, ConfigError> {
    let Some(names) = names else {
        return Ok((0..servers.len()).map(|i| ServerId(i as u16)).collect());
    };
    if names.get_ref().is_empty() {
        return Err(source.error(names.span(), "servers is empty; name one or remove the key to use all"));
    }
    let mut members = Vec::new();
    for name in names.get_ref() {
        let Some(id) = servers.iter().position(|server| server.name == *name.get_ref()) else {
            let message =
                format!("server {:?} is not defined; add a [[server]] or correct the name", name.get_ref());
            return Err(source.error(name.span(), message));
        };
        let id = ServerId(id as u16);
        if members.contains(&id) {
            let message = format!("server {:?} is listed twice; remove one", name.get_ref());
            return Err(source.error(name.span(), message));
        }
        members.push(id);
    }
    members.sort_unstable();
    Ok(members)
}

fn rules(source: Source<'_>, files: Vec<ClassFile>) -> Result<Vec<ClassRule>, ConfigError> {
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for file in files {
        let (name, span) = (address::name(source, "class name", &file.name)?, file.name.span());
        if name.starts_with("hash-") {
            return Err(source.error(span, format!("class {name:?} looks like a hash class; rename it")));
        }
        if !names.insert(name.clone()) {
            return Err(
                source.error(span, format!("class {name:?} is defined twice in a service; rename one"))
            );
        }
        if file.path_prefix.is_none() && file.path_suffix.is_none() && file.host.is_none() {
            let message = format!("class {name:?} has no condition; give path_prefix, path_suffix or host");
            return Err(source.error(span, message));
        }
        let ClassFile { path_prefix, path_suffix, host, .. } = file;
        rules.push(ClassRule { name, path_prefix, path_suffix, host });
    }
    Ok(rules)
}

//! `[[server]]` of the front-end's configuration. Owns names, addresses and MACs of servers and their uniqueness.

use std::{collections::HashMap, net::IpAddr};

use dispatcher_common::limits::MAX_SERVERS;
use serde::Deserialize;
use toml::Spanned;

use super::{
    address::{self, MacAddress},
    error::{ConfigError, Source},
};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Name, which its reports carry too.
    pub name: String,
    /// Address for neighbour look-up.
    pub address: IpAddr,
    /// Fixed MAC address; otherwise by neighbour look-up.
    pub mac: Option<MacAddress>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerFile {
    name: Spanned<String>,
    address: Spanned<String>,
    mac: Option<Spanned<MacAddress>>,
}

pub(super) fn convert(source: Source<'_>, files: Vec<ServerFile>) -> Result<Vec<ServerConfig>, ConfigError> {
    if let Some(surplus) = files.get(MAX_SERVERS) {
        let message = format!("more than {MAX_SERVERS} servers; split the cluster");
        return Err(source.error(surplus.name.span(), message));
    }
    let (mut names, mut addresses, mut macs) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut servers = Vec::new();
    for file in files {
        let name = address::name(source, "server name", &file.name)?;
        let ip = address::unicast(source, "address", &file.address)?;
        if names.insert(name.clone(), ()).is_some() {
            return Err(
                source.error(file.name.span(), format!("server {name:?} is defined twice; rename one"))
            );
        }
        if let Some(other) = addresses.insert(ip, name.clone()) {
            let message = format!("address {ip} belongs to server {other:?} already; correct one");
            return Err(source.error(file.address.span(), message));
        }
        if let Some(mac) = &file.mac
            && let Some(other) = macs.insert(*mac.get_ref(), name.clone())
        {
            let message = format!("mac {} belongs to server {other:?} already; correct one", mac.get_ref());
            return Err(source.error(mac.span(), message));
        }
        servers.push(ServerConfig { name, address: ip, mac: file.mac.map(Spanned::into_inner) });
    }
    Ok(servers)
}

//! HAProxy on the front-end's host, for comparison: one thread, HTTP mode, its default keep-alive and
//! connection re-use, as its configuration guide advises.

use std::fmt::Write;

use crate::plan::{Family, Plan};

/// Lines that are added to its configuration.
#[derive(Clone, Debug, Default)]
pub struct HaproxyOptions {
    /// At the end of the global section.
    pub global: String,
    /// At the end of the defaults.
    pub defaults: String,
    /// At the end of the frontend.
    pub frontend: String,
    /// At the beginning of the backend.
    pub backend: String,
    /// At the end of each server's line.
    pub server: String,
    /// At the end of the file: further frontends and backends.
    pub more: String,
}

/// Where it listens, on the front-end's own addresses.
pub(crate) const PORT: u16 = 8080;

pub(crate) fn text(plan: &Plan, options: &HaproxyOptions) -> String {
    let (v4, v6) = (plan.address("front", Family::V4), plan.address("front", Family::V6));
    let HaproxyOptions { global, defaults, frontend, backend, server, more } = options;
    let mut text = format!(
        "# Written by the rig.
global
    nbthread 1
    maxconn 8000
{global}defaults
    mode http
    balance roundrobin
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{defaults}frontend web
    bind {v4}:{PORT}
    bind {v6}:{PORT}
    default_backend servers
{frontend}backend servers
{backend}"
    );
    for name in plan.server_names() {
        let _ = writeln!(text, "    server {name} {}:80 {server}", plan.address(&name, Family::V4));
    }
    text + more
}

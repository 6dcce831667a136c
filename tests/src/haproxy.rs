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

impl HaproxyOptions {
    /// Where it listens for what it splices, with [`HaproxyOptions::quick`].
    pub const SPLICED_PORT: u16 = 8082;

    /// As its configuration manual has it for speed: shared connections to servers, no needless ACKs. Splicing is a frontend of its own,
    /// as it gains with large responses and loses with small ones; with it come larger pipes.
    #[must_use]
    pub fn quick(plan: &Plan) -> Self {
        let address = |host: &str| plan.address(host, Family::V4);
        let servers = plan.server_names();
        let servers = servers.iter().map(|name| format!("    server {name} {}:80\n", address(name)));
        Self {
            // Enough for each connection of a benchmark; by default so many that they exceed the rig's limit of open files.
            global: "    maxpipes 256\n    tune.pipesize 1048576\n".to_owned(),
            defaults: "    option http-keep-alive\n    option tcp-smart-accept\n    option tcp-smart-connect\n    http-reuse always\n"
                .to_owned(),
            more: format!(
                "frontend spliced\n    bind {}:{}\n    option splice-response\n    default_backend spliced\n\
                 backend spliced\n    option splice-response\n{}",
                address("front"),
                Self::SPLICED_PORT,
                servers.collect::<String>()
            ),
            ..Self::default()
        }
    }
}

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

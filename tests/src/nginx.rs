//! Configuration of the servers' software: Debian's nginx, unmodified, listening on all addresses of its host.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    delay,
    process::Tracked,
    rig::Server,
    site::{self, CachedSite},
};

/// Where servers listen besides port 80: for services with settings of their own. A connection comes there with its first request
/// or not at all, so that nginx may read at once what it accepts (`deferred`).
pub const MORE_PORTS: [u16; 3] = [8001, 8002, 8003];

/// What servers answer outside /bytes/.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Their name and the path.
    Text,
    /// The same, or by the delay server while the server is slow.
    Slowable,
    /// From a cache, and what is not there from the delay server.
    Cached(CachedSite),
}

/// A second site that does not keep connections for long; it answers every request by the number that the client gave it.
#[derive(Clone, Copy, Debug)]
pub struct Impatient {
    pub port: u16,
    /// How long a connection may be idle.
    pub keepalive: Duration,
    /// Requests that a connection may have.
    pub requests: u32,
}

impl Impatient {
    fn text(self, name: &str) -> String {
        let Self { port, requests, .. } = self;
        let keepalive_ms = self.keepalive.as_millis();
        format!(
            r#"server {{
    listen {port};
    listen [::]:{port};
    keepalive_timeout {keepalive_ms}ms;
    keepalive_requests {requests};
    add_header X-Server {name} always;
    location / {{
      default_type text/plain;
      return 200 "{name} $request_uri $http_x_request\n";
    }}
  }}"#
        )
    }
}

/// Writes the configuration of one server and starts nginx there.
pub(crate) fn start(
    server: &Server<'_>,
    workers: usize,
    content: Content,
    more: Option<Impatient>,
) -> Result<Tracked> {
    let directory = server.run_dir.join(server.host.name());
    for part in ["body", "proxy", "fastcgi", "uwsgi", "scgi", site::CACHE] {
        fs::create_dir_all(directory.join(part))?;
    }
    let config = directory.join("nginx.conf");
    let more = more.map(|more| more.text(server.host.name())).unwrap_or_default();
    fs::write(&config, text(server.host.name(), server.run_dir, workers, content, &more))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = server.host.command("/usr/sbin/nginx");
    command.arg("-p").arg(&directory).arg("-c").arg(&config).arg("-e").arg(directory.join("error.log"));
    server.spawn("nginx", command)
}

/// While this file exists, all but /bytes/ of a slowable server is answered by the delay server, and a server with a cache serves
/// at its slow pace.
pub(crate) fn slow_flag(run_dir: &Path, server: &str) -> std::path::PathBuf {
    run_dir.join(server).join("slow")
}

/// How everything outside /bytes/ is answered, and what that needs outside the `server` block.
fn answer(name: &str, run_dir: &Path, content: Content) -> (String, String) {
    let text = format!("return 200 \"{name} $written_path\\n\";");
    let origin = format!("proxy_pass http://127.0.0.1:{};", delay::PORT);
    match content {
        Content::Text => (text, String::new()),
        Content::Slowable => {
            let flag = slow_flag(run_dir, name);
            (format!("if (!-f {}) {{ {text} }}\n      {origin}", flag.display()), String::new())
        }
        Content::Cached(site) => {
            let flag = slow_flag(run_dir, name);
            (site.location(name, &flag) + &origin, site.shared(&run_dir.join(name).join(site::CACHE)))
        }
    }
}

fn text(name: &str, run_dir: &Path, workers: usize, content: Content, more: &str) -> String {
    let directory = run_dir.join(name);
    let here = directory.display();
    let (answer, cache) = answer(name, run_dir, content);
    let content = run_dir.join("content");
    let content = content.display();
    let more_ports = MORE_PORTS.map(|port| format!("listen {port} backlog=4096 deferred;")).join(" ");
    format!(
        r#"# Written by the rig.
daemon off;
user root;
worker_processes {workers};
worker_rlimit_nofile 20000;
pid {here}/nginx.pid;
events {{
  worker_connections 16384;
}}
http {{
  access_log off;
  sendfile on;
  default_type application/octet-stream;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_max_body_size 0;
  client_body_temp_path {here}/body;
  proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi;
  scgi_temp_path {here}/scgi;
  proxy_read_timeout 300s;
  {cache}
  # The path as the client wrote it, without the query.
  map $request_uri $written_path {{
    "~^(?<path>[^?]*)" $path;
  }}
  server {{
    listen 80 backlog=4096;
    listen [::]:80 backlog=4096;
    {more_ports}
    add_header X-Server {name} always;
    location /bytes/ {{
      root {content};
      error_page 404 405 = @text;
    }}
    # Which server answered, what it was asked for, and the number that the client gave the request.
    location /id/ {{
      default_type text/plain;
      return 200 "{name} $request_uri $http_x_request\n";
    }}
    location /page/ {{
      root {content};
      default_type text/html;
    }}
    location / {{
      default_type text/plain;
      {answer}
    }}
    location @text {{
      default_type text/plain;
      return 200 "{name} $written_path\n";
    }}
  }}
  {more}
}}
"#
    )
}

//! Configuration of the servers' software: Debian's nginx, unmodified, listening on all addresses of its host.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{delay, process::Tracked, rig::Server};

/// Writes the configuration of one server and starts nginx there.
pub(crate) fn start(server: &Server<'_>, workers: usize, slowable: bool) -> Result<Tracked> {
    let directory = server.run_dir.join(server.host.name());
    for part in ["body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        fs::create_dir_all(directory.join(part))?;
    }
    let config = directory.join("nginx.conf");
    fs::write(&config, text(server.host.name(), server.run_dir, workers, slowable))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = server.host.command("/usr/sbin/nginx");
    command.arg("-p").arg(&directory).arg("-c").arg(&config).arg("-e").arg(directory.join("error.log"));
    server.spawn("nginx", command)
}

/// While this file exists, all but /bytes/ of a slowable server is answered by the delay server.
pub(crate) fn slow_flag(run_dir: &Path, server: &str) -> std::path::PathBuf {
    run_dir.join(server).join("slow")
}

fn text(name: &str, run_dir: &Path, workers: usize, slowable: bool) -> String {
    let directory = run_dir.join(name);
    let here = directory.display();
    let content = run_dir.join("content");
    let content = content.display();
    let answer = format!("return 200 \"{name} $written_path\\n\";");
    let answer = if slowable {
        let flag = slow_flag(run_dir, name);
        let flag = flag.display();
        format!("if (!-f {flag}) {{ {answer} }}\n      proxy_pass http://127.0.0.1:{};", delay::PORT)
    } else {
        answer
    };
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
  # The path as the client wrote it, without the query.
  map $request_uri $written_path {{
    "~^(?<path>[^?]*)" $path;
  }}
  server {{
    listen 80 backlog=4096;
    listen [::]:80 backlog=4096;
    add_header X-Server {name} always;
    location /bytes/ {{
      root {content};
      error_page 404 405 = @text;
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
}}
"#
    )
}

//! Configuration of the servers' software: Debian's nginx, unmodified, listening on all addresses of its host.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{delay, process::Tracked, rig::Server};

/// Directory of the cache below the server's own.
pub(crate) const CACHE: &str = "cache";

/// nginx's `ngx_http_file_cache_node_t` takes a slab of 128 bytes, so a page of the zone has this many; a few pages more are its
/// own.
const KEYS_PER_PAGE: usize = 32;
const PAGES_OF_A_ZONE: usize = 2;
const PAGE: usize = 4096;

/// More requests than ever wait for their turn.
const LONGEST_QUEUE: u32 = 100_000;

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

/// A site of which each server caches a part.
#[derive(Clone, Copy, Debug)]
pub struct CachedSite {
    /// Objects that one server's cache has room for.
    pub room: usize,
    /// Length of an object.
    pub object_bytes: usize,
    /// Requests that the origin behind one server does at a time.
    pub origin_threads: usize,
    /// Requests that a server serves in a second, one after the other: as many as fit a machine that is all hosts.
    pub pace: u32,
    /// The same while it is slow.
    pub slow_pace: u32,
}

/// Writes the configuration of one server and starts nginx there.
pub(crate) fn start(server: &Server<'_>, workers: usize, content: Content) -> Result<Tracked> {
    let directory = server.run_dir.join(server.host.name());
    for part in ["body", "proxy", "fastcgi", "uwsgi", "scgi", CACHE] {
        fs::create_dir_all(directory.join(part))?;
    }
    let config = directory.join("nginx.conf");
    fs::write(&config, text(server.host.name(), server.run_dir, workers, content))
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

/// Objects in a cache; one that is being written has a name with a dot.
pub(crate) fn cached_objects(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => cached_objects(&entry.path())?,
            false => usize::from(!entry.file_name().to_string_lossy().contains('.')),
        };
    }
    Ok(count)
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
            let lines = [
                "set $usual yes;".to_owned(),
                "set $slow \"\";".to_owned(),
                format!("if (-f {}) {{ set $usual \"\"; set $slow yes; }}", flag.display()),
                format!("limit_req zone=usual burst={LONGEST_QUEUE};"),
                format!("limit_req zone=slow burst={LONGEST_QUEUE};"),
                format!("add_header X-Server {name} always;"),
                "add_header X-Cache $upstream_cache_status always;".to_owned(),
                "proxy_cache objects;".to_owned(),
                "proxy_cache_key $written_path;".to_owned(),
                "proxy_cache_valid 200 1h;".to_owned(),
                origin,
            ];
            (lines.join("\n      "), cache(&run_dir.join(name).join(CACHE), site))
        }
    }
}

/// The zone of keys bounds a cache at once: whoever finds no room for another key removes the least recently used object. The
/// bound of its size is the manager's, which looks every ten seconds.
fn cache(directory: &Path, site: CachedSite) -> String {
    let zone = (site.room.div_ceil(KEYS_PER_PAGE) + PAGES_OF_A_ZONE) * PAGE;
    let on_disk = (site.object_bytes + 1024).next_multiple_of(PAGE);
    format!(
        "proxy_cache_path {} levels=1:2 use_temp_path=off inactive=1h keys_zone=objects:{zone} max_size={};
  # A request with an empty key is not counted.
  limit_req_zone $usual zone=usual:32k rate={}r/s;
  limit_req_zone $slow zone=slow:32k rate={}r/s;",
        directory.display(),
        site.room * on_disk,
        site.pace,
        site.slow_pace,
    )
}

fn text(name: &str, run_dir: &Path, workers: usize, content: Content) -> String {
    let directory = run_dir.join(name);
    let here = directory.display();
    let (answer, cache) = answer(name, run_dir, content);
    let content = run_dir.join("content");
    let content = content.display();
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

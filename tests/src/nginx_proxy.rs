//! nginx as a proxy on the front-end's host, for comparison: one worker, kept connections to the servers, buffers that hold a response,
//! as its documentation of `ngx_http_upstream_module` and `ngx_http_proxy_module` advises.

use std::fmt::Write;

use crate::plan::{Family, Plan};

/// Where it listens, on the front-end's own addresses.
pub(crate) const PORT: u16 = 8081;

pub(crate) fn text(plan: &Plan) -> String {
    let (v4, v6) = (plan.address("front", Family::V4), plan.address("front", Family::V6));
    let mut servers = String::new();
    for name in plan.server_names() {
        let _ = writeln!(servers, "    server {}:80;", plan.address(&name, Family::V4));
    }
    let here = plan.run_dir().join("front");
    let here = here.display();
    format!(
        r#"# Written by the rig.
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {here}/nginx.pid;
events {{
  worker_connections 16384;
  multi_accept on;
}}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_body_temp_path {here}/body;
  proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi;
  scgi_temp_path {here}/scgi;
  upstream servers {{
{servers}    keepalive 64;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }}
  server {{
    listen {v4}:{PORT} backlog=4096;
    listen [{v6}]:{PORT} backlog=4096;
    location / {{
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 512k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"#
    )
}

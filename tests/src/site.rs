//! Servers that cache a part of a site: nginx's configuration for it, and what a benchmark does to them and asks of them.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};

use crate::{
    nginx,
    rig::{Rig, nginx_of},
};

/// Directory of the cache below the server's own.
pub(crate) const CACHE: &str = "cache";

/// nginx's `ngx_http_file_cache_node_t` takes a slab of 128 bytes, so a page of the zone has this many; a few pages more are its
/// own.
const KEYS_PER_PAGE: usize = 32;
const PAGES_OF_A_ZONE: usize = 2;
const PAGE: usize = 4096;

/// More requests than ever wait for their turn.
const LONGEST_QUEUE: u32 = 100_000;

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

impl CachedSite {
    /// What its location needs before the origin: the pace, whose it is that answers, and the cache.
    pub(crate) fn location(self, name: &str, slow_flag: &Path) -> String {
        let flag = slow_flag.display();
        format!(
            "set $usual yes;
      set $slow \"\";
      if (-f {flag}) {{ set $usual \"\"; set $slow yes; }}
      limit_req zone=usual burst={LONGEST_QUEUE};
      limit_req zone=slow burst={LONGEST_QUEUE};
      add_header X-Server {name} always;
      add_header X-Cache $upstream_cache_status always;
      proxy_cache objects;
      proxy_cache_key $written_path;
      proxy_cache_valid 200 1h;
      "
        )
    }

    /// What all of nginx shares: the cache and the paces.
    ///
    /// The zone of keys bounds a cache at once: whoever finds no room for another key removes the least recently used object. The
    /// bound of its size is the manager's, which looks every ten seconds.
    pub(crate) fn shared(self, directory: &Path) -> String {
        let zone = (self.room.div_ceil(KEYS_PER_PAGE) + PAGES_OF_A_ZONE) * PAGE;
        let most = self.room * (self.object_bytes + 1024).next_multiple_of(PAGE);
        let (directory, pace, slow_pace) = (directory.display(), self.pace, self.slow_pace);
        format!(
            "proxy_cache_path {directory} levels=1:2 use_temp_path=off inactive=1h keys_zone=objects:{zone} max_size={most};
  # A request with an empty key is not counted.
  limit_req_zone $usual zone=usual:32k rate={pace}r/s;
  limit_req_zone $slow zone=slow:32k rate={slow_pace}r/s;"
        )
    }
}

impl Rig {
    /// Lets the origin behind a server take `delay` for each request, and the server be slow or not: what that means is up to the
    /// site that it caches.
    ///
    /// # Errors
    /// If the rig was built with neither `slowable` nor `cached`.
    pub fn set_origin(&mut self, server: &str, delay: Duration, is_slow: bool) -> Result<()> {
        let origin = self.delays.get(server);
        let origin =
            origin.ok_or_else(|| anyhow!("{server} cannot be slow: build the rig slowable or cached"))?;
        origin.set(delay);
        let flag = nginx::slow_flag(&self.plan().run_dir(), server);
        if is_slow {
            fs::write(flag, "")?;
        } else if flag.exists() {
            fs::remove_file(flag)?;
        }
        Ok(())
    }

    /// Restarts nginx of all servers with empty caches.
    ///
    /// # Errors
    /// If it does not end or start in time.
    pub fn empty_caches(&mut self) -> Result<()> {
        for server in self.plan().server_names() {
            self.stop(&nginx_of(&server))?;
            fs::remove_dir_all(self.plan().run_dir().join(&server).join(CACHE))?;
        }
        self.start_nginx()
    }

    /// Objects that a server has in its cache.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn cached_objects(&self, server: &str) -> Result<usize> {
        count_objects(&self.plan().run_dir().join(server).join(CACHE))
    }
}

/// One that is being written has a name with a dot.
fn count_objects(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => count_objects(&entry.path())?,
            false => usize::from(!entry.file_name().to_string_lossy().contains('.')),
        };
    }
    Ok(count)
}

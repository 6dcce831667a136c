//! Who is compared. The dispatcher and HAProxy have a rig each, with servers of their own: HAProxy's has all offloads on, the
//! dispatcher's must do without some of them.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tests::{CachedSite, Family, FrontOptions, HaproxyOptions, Rig, load};

/// Servers of each rig.
pub(crate) const SERVERS: usize = 4;

/// What each server caches: a third of the site, so that all of them have room for it and a third of it twice.
pub(crate) const SITE: CachedSite =
    CachedSite { room: 700, object_bytes: 15 << 10, origin_threads: 4, pace: 500, slow_pace: 125 };

/// Servers report ten times a second.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A balancer with a way to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Context,
    RoundRobin,
    /// With a `hash-balance-factor`: how much of its even share of the requests in flight a server may hold, in percent.
    Uri(u32),
    LeastConnections,
    /// `context` for each request of clients that keep their connections.
    KeptPerRequest,
    /// `context` for the first request of such a connection.
    KeptByConnection,
    /// As [`Subject::Uri`], with such clients.
    KeptUri(u32),
}

impl Subject {
    /// HAProxy's manual calls factors from 125 to 200 reasonable.
    pub(crate) const ALL: [Self; 8] = [
        Self::Context,
        Self::RoundRobin,
        Self::Uri(150),
        Self::Uri(200),
        Self::LeastConnections,
        Self::KeptPerRequest,
        Self::KeptByConnection,
        Self::KeptUri(200),
    ];

    /// DISPATCHER_SUBJECTS takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        tests::chosen("DISPATCHER_SUBJECTS", Self::ALL)
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Context => "dispatcher, context".to_owned(),
            Self::RoundRobin => "dispatcher, round-robin".to_owned(),
            Self::Uri(factor) => format!("HAProxy, uri {factor}"),
            Self::LeastConnections => "HAProxy, leastconn".to_owned(),
            Self::KeptPerRequest => "dispatcher, by request".to_owned(),
            Self::KeptByConnection => "dispatcher, by connection".to_owned(),
            Self::KeptUri(factor) => format!("HAProxy, kept, uri {factor}"),
        }
    }

    /// Whether clients keep their connections.
    pub(crate) const fn keeps(self) -> bool {
        matches!(self, Self::KeptPerRequest | Self::KeptByConnection | Self::KeptUri(_))
    }

    const fn is_ours(self) -> bool {
        matches!(self, Self::Context | Self::RoundRobin | Self::KeptPerRequest | Self::KeptByConnection)
    }
}

/// Both rigs.
pub(crate) struct Stage {
    ours: Rig,
    proxy: Rig,
}

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        let rig = |name: &str, full_offloads: bool| -> Result<Rig> {
            let rig =
                Rig::builder(name).servers(SERVERS).cached(SITE).full_offloads(full_offloads).start()?;
            load::attach(&rig)?;
            Ok(rig)
        };
        let (mut ours, proxy) = (rig("locality-ours", false)?, rig("locality-proxy", true)?);
        for server in ours.plan().server_names() {
            ours.start_back(&server)?;
        }
        Ok(Self { ours, proxy })
    }

    /// Empties the caches and starts a subject; gives its rig and where clients send their requests.
    pub(crate) fn start(&mut self, subject: Subject) -> Result<(&mut Rig, SocketAddr)> {
        match subject {
            Subject::Context => self.start_ours("context", ""),
            Subject::RoundRobin => self.start_ours("round-robin", ""),
            Subject::KeptPerRequest => self.start_ours("context", "per_request = true\n"),
            Subject::KeptByConnection => self.start_ours("context", "per_request = false\n"),
            Subject::Uri(factor) | Subject::KeptUri(factor) => self.start_proxy(&format!(
                "    balance uri\n    hash-type consistent\n    hash-balance-factor {factor}\n"
            )),
            Subject::LeastConnections => self.start_proxy("    balance leastconn\n"),
        }
    }

    pub(crate) fn stop(&mut self, subject: Subject) -> Result<()> {
        let stopped = if subject.is_ours() { self.ours.stop("front") } else { self.proxy.stop("haproxy") };
        stopped.map(drop)
    }

    /// With lines for the end of the service.
    fn start_ours(&mut self, policy: &str, more: &str) -> Result<(&mut Rig, SocketAddr)> {
        self.ours.empty_caches()?;
        for server in self.ours.plan().server_names() {
            // Nor must it know the service times of the subject before.
            self.ours.restart(&server)?;
        }
        let options = FrontOptions {
            policy: policy.to_owned(),
            // The defaults of the configuration, not those of the rig.
            table: "weighted".to_owned(),
            load_threshold: "72x".to_owned(),
            more: more.to_owned(),
            ..FrontOptions::default()
        };
        self.ours.start_front(&options)?;
        self.ours.wait_until_servers_up(START_LIMIT)?;
        let target = (self.ours.plan().address("vip", Family::V4), 80).into();
        Ok((&mut self.ours, target))
    }

    /// Equal weights of 100 make the ring of hashes as smooth as with any number of servers; of the same size, they say nothing
    /// else. Connections to servers are shared by all clients.
    fn start_proxy(&mut self, balance: &str) -> Result<(&mut Rig, SocketAddr)> {
        self.proxy.empty_caches()?;
        let backend = format!("{balance}    http-reuse always\n");
        let options =
            HaproxyOptions { backend, server: "weight 100".to_owned(), ..HaproxyOptions::default() };
        self.proxy.start_haproxy_with(&options)?;
        let target = (self.proxy.plan().address("front", Family::V4), 8080).into();
        Ok((&mut self.proxy, target))
    }
}

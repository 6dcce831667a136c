//! Who is compared, and where. Rigs are wired alike, without switches; the rivals' has all offloads on, ours on the way of the
//! responses.

use anyhow::{Context, Result};
use tests::{Family, FrontOptions, HaproxyOptions, Host, Rig, RigBuilder};

/// As many as behind whoever is asked directly, so that what a front-end costs is the difference.
const SERVERS: usize = 1;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Direct,
    Dispatcher,
    /// The dispatcher with all first requests on its slow path.
    Uncached,
    Haproxy,
    HaproxySpliced,
    Nginx,
}

impl Subject {
    /// In the order of the rounds.
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Dispatcher, Self::Uncached, Self::Haproxy, Self::HaproxySpliced, Self::Nginx];

    /// Of whom the better one counts.
    pub(crate) const HAPROXIES: [Self; 2] = [Self::Haproxy, Self::HaproxySpliced];

    /// DISPATCHER_SUBJECTS takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        tests::chosen("DISPATCHER_SUBJECTS", Self::ALL)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Dispatcher => "dispatcher",
            Self::Uncached => "dispatcher, class cache off",
            Self::Haproxy => "HAProxy",
            Self::HaproxySpliced => "HAProxy, splicing",
            Self::Nginx => "nginx",
        }
    }

    /// Name of its rig; some share one.
    const fn instance(self) -> &'static str {
        match self {
            Self::Dispatcher => "side-ours",
            Self::Uncached => "side-uncached",
            Self::Direct | Self::Haproxy | Self::HaproxySpliced | Self::Nginx => "side-proxy",
        }
    }
}

/// All rigs.
pub(crate) struct Stage(Vec<Rig>);

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        let mut proxy = builder("side-proxy").full_offloads(true).start()?;
        proxy.start_haproxy_with(&HaproxyOptions::quick(proxy.plan()))?;
        proxy.start_nginx_proxy()?;
        let mut ours = builder("side-ours").start()?;
        ours.start_dispatcher(&FrontOptions::default())?;
        let mut uncached = builder("side-uncached").start()?;
        let without_cache = |text: &mut String| text.insert_str(0, "class_cache = 0\n");
        uncached.start_dispatcher(&FrontOptions::default().alter(without_cache))?;
        Ok(Self(vec![proxy, ours, uncached]))
    }

    fn rig(&self, subject: Subject) -> Result<&Rig> {
        let rig = self.0.iter().find(|rig| rig.plan().instance() == subject.instance());
        rig.with_context(|| format!("{} has no rig", subject.name()))
    }

    pub(crate) fn client(&self, subject: Subject) -> Result<&Host> {
        self.rig(subject)?.host("client")
    }

    /// That a dispatcher has sent to its servers so far.
    pub(crate) fn packets(&self, subject: Subject) -> Result<Option<u64>> {
        if subject != Subject::Dispatcher {
            return Ok(None);
        }
        let servers = self.rig(subject)?.show("front", "servers")?;
        Ok(Some(servers.iter().filter_map(|server| server["packets"].as_u64()).sum()))
    }

    /// Without a path.
    pub(crate) fn url(&self, subject: Subject) -> Result<String> {
        let (host, port) = match subject {
            Subject::Direct => ("server1", 80),
            Subject::Dispatcher | Subject::Uncached => ("vip", 80),
            Subject::Haproxy => ("front", 8080),
            Subject::HaproxySpliced => ("front", HaproxyOptions::SPLICED_PORT),
            Subject::Nginx => ("front", 8081),
        };
        Ok(self.rig(subject)?.plan().url(host, Family::V4, port))
    }
}

/// DISPATCHER_WIRING=switch puts switches in between, DISPATCHER_SERVERS takes more servers, DISPATCHER_CONGESTION=machine leaves
/// congestion control as the machine has it: to see what each of them does.
fn builder(instance: &str) -> RigBuilder {
    let chosen = |name| std::env::var(name).unwrap_or_default();
    let builder = Rig::builder(instance).servers(chosen("DISPATCHER_SERVERS").parse().unwrap_or(SERVERS));
    let builder = match chosen("DISPATCHER_CONGESTION").as_str() {
        "machine" => builder,
        _ => builder.reno(),
    };
    if chosen("DISPATCHER_WIRING") == "switch" { builder } else { builder.straight() }
}

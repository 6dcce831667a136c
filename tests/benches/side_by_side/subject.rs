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
    Haproxy,
    Nginx,
}

impl Subject {
    /// In the order of the rounds.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Dispatcher, Self::Haproxy, Self::Nginx];

    /// DISPATCHER_SUBJECTS takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        let chosen = std::env::var("DISPATCHER_SUBJECTS").ok();
        let named = |text: &String, index: usize| text.split(',').any(|one| one == index.to_string());
        let all = Self::ALL.into_iter().enumerate();
        all.filter(|(index, _)| chosen.as_ref().is_none_or(|text| named(text, *index)))
            .map(|(_, subject)| subject)
            .collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Dispatcher => "dispatcher",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// Name of its rig; some share one.
    const fn instance(self) -> &'static str {
        match self {
            Self::Dispatcher => "side-ours",
            Self::Direct | Self::Haproxy | Self::Nginx => "side-proxy",
        }
    }
}

/// All rigs.
pub(crate) struct Stage(Vec<Rig>);

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        let mut proxy = builder("side-proxy").full_offloads(true).start()?;
        proxy.start_haproxy_with(&haproxy())?;
        proxy.start_nginx_proxy()?;
        let mut ours = builder("side-ours").start()?;
        ours.start_dispatcher(&FrontOptions::default())?;
        Ok(Self(vec![proxy, ours]))
    }

    fn rig(&self, subject: Subject) -> Result<&Rig> {
        let rig = self.0.iter().find(|rig| rig.plan().instance() == subject.instance());
        rig.with_context(|| format!("{} has no rig", subject.name()))
    }

    pub(crate) fn client(&self, subject: Subject) -> Result<&Host> {
        self.rig(subject)?.host("client")
    }

    /// Without a path.
    pub(crate) fn url(&self, subject: Subject) -> Result<String> {
        let (host, port) = match subject {
            Subject::Direct => ("server1", 80),
            Subject::Dispatcher => ("vip", 80),
            Subject::Haproxy => ("front", 8080),
            Subject::Nginx => ("front", 8081),
        };
        Ok(self.rig(subject)?.plan().url(host, Family::V4, port))
    }
}

/// DISPATCHER_WIRING=switch puts switches in between, to see what they cost; DISPATCHER_SERVERS takes more servers.
fn builder(instance: &str) -> RigBuilder {
    let servers = std::env::var("DISPATCHER_SERVERS").ok().and_then(|text| text.parse().ok());
    let builder = Rig::builder(instance).servers(servers.unwrap_or(SERVERS));
    if std::env::var("DISPATCHER_WIRING").is_ok_and(|wiring| wiring == "switch") {
        builder
    } else {
        builder.straight()
    }
}

/// As its configuration manual has it for speed: connections to servers are shared, payloads spliced, no needless ACKs.
fn haproxy() -> HaproxyOptions {
    let more = |name: &str| std::env::var(name).unwrap_or_default().replace(';', "\n");
    HaproxyOptions {
        global: more("DISPATCHER_HAPROXY_GLOBAL"),
        defaults: "    option http-keep-alive\n    option splice-auto\n    option tcp-smart-accept\n    option tcp-smart-connect\n    \
                   http-reuse always\n"
            .to_owned() + &more("DISPATCHER_HAPROXY"),
        ..HaproxyOptions::default()
    }
}

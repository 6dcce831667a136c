//! Who is compared: four services of one dispatcher, which differ in how they choose servers, and HAProxy. Two rigs, wired alike and
//! without switches; HAProxy's has all offloads on, ours on the way of the responses.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use tests::{BackOptions, Family, FrontOptions, HaproxyOptions, Host, MORE_PORTS, Plan, Rig, RigBuilder};

use crate::case::Case;

/// Servers of each rig.
pub(crate) const SERVERS: usize = 3;

/// Servers report ten times a second.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Who answers, and how it chooses a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `hash` for the first request of a connection; all further ones follow it.
    Connections,
    /// `hash` for each request. All ask for the same, so none moves.
    Staying,
    /// `round-robin` for the first request of a connection.
    Spread,
    /// `round-robin` for each request.
    Moving,
    Haproxy,
    HaproxySpliced,
}

impl Subject {
    /// In the order of the rounds.
    pub(crate) const ALL: [Self; 6] =
        [Self::Connections, Self::Staying, Self::Spread, Self::Moving, Self::Haproxy, Self::HaproxySpliced];

    /// Of whom the better one counts.
    pub(crate) const HAPROXIES: [Self; 2] = [Self::Haproxy, Self::HaproxySpliced];

    /// All but the first, which is the service that every rig has.
    const MORE_SERVICES: [Self; 3] = [Self::Staying, Self::Spread, Self::Moving];

    /// Those that take part in a case: splicing gains nothing with responses that fit a buffer. DISPATCHER_SUBJECTS takes some of
    /// them, by their numbers from 0.
    pub(crate) fn chosen(case: Case) -> Vec<Self> {
        let takes_part = |subject: &Self| *subject != Self::HaproxySpliced || case == Case::Medium;
        tests::chosen("DISPATCHER_SUBJECTS", Self::ALL).into_iter().filter(takes_part).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "by connection",
            Self::Staying => "staying",
            Self::Spread => "spread",
            Self::Moving => "moving",
            Self::Haproxy => "HAProxy",
            Self::HaproxySpliced => "HAProxy, splicing",
        }
    }

    /// The dispatcher, not a rival.
    pub(crate) const fn is_ours(self) -> bool {
        !matches!(self, Self::Haproxy | Self::HaproxySpliced)
    }

    const fn is_per_request(self) -> bool {
        matches!(self, Self::Staying | Self::Moving)
    }

    const fn port(self) -> u16 {
        match self {
            Self::Connections => 80,
            Self::Staying => MORE_PORTS[0],
            Self::Spread => MORE_PORTS[1],
            Self::Moving => MORE_PORTS[2],
            Self::Haproxy => 8080,
            Self::HaproxySpliced => HaproxyOptions::SPLICED_PORT,
        }
    }

    /// A class stays bound to its server, whatever else demand says: only so nothing moves that need not.
    const fn policy(self) -> &'static str {
        match self {
            Self::Spread | Self::Moving => "policy = \"round-robin\"",
            _ => "policy = \"hash\"",
        }
    }
}

/// Both rigs.
pub(crate) struct Stage {
    ours: Rig,
    proxy: Rig,
}

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        let mut proxy = builder("request-proxy").full_offloads(true).start()?;
        proxy.start_haproxy_with(&HaproxyOptions::quick(proxy.plan()))?;
        let mut ours = builder("request-ours").start()?;
        let services = back_services(ours.plan());
        let options = BackOptions::default().alter(move |text| text.push_str(&services));
        for server in ours.plan().server_names() {
            ours.start_back_with(&server, &options)?;
        }
        let more = front_services(ours.plan());
        ours.start_front(&FrontOptions { more, ..FrontOptions::default() })?;
        ours.wait_until_servers_up(START_LIMIT)?;
        Ok(Self { ours, proxy })
    }

    pub(crate) fn rig(&self, subject: Subject) -> &Rig {
        if subject.is_ours() { &self.ours } else { &self.proxy }
    }

    pub(crate) fn client(&self, subject: Subject) -> Result<&Host> {
        self.rig(subject).host("client")
    }

    /// Without a path.
    pub(crate) fn url(&self, subject: Subject) -> String {
        let host = if subject.is_ours() { "vip" } else { "front" };
        self.rig(subject).plan().url(host, Family::V4, subject.port())
    }
}

fn builder(instance: &str) -> RigBuilder {
    Rig::builder(instance).servers(SERVERS).straight().reno()
}

/// The end of the service that every rig has, and the others.
fn front_services(plan: &Plan) -> String {
    let mut text = format!("per_request = {}\n", Subject::Connections.is_per_request());
    for subject in Subject::MORE_SERVICES {
        let _ = writeln!(
            text,
            "\n[[service]]\nname = \"{}\"\nvip = [\"{}\"]\nport = {}\n{}\nper_request = {}",
            subject.name(),
            plan.address("vip", Family::V4),
            subject.port(),
            subject.policy(),
            subject.is_per_request()
        );
    }
    text
}

fn back_services(plan: &Plan) -> String {
    let vip = plan.address("vip", Family::V4);
    let service = |port| format!("\n[[service]]\nvip = [\"{vip}\"]\nport = {port}\n");
    Subject::MORE_SERVICES.map(|subject| service(subject.port())).concat()
}

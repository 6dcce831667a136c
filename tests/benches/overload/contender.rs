//! Who is compared, each in a rig of its own with servers of its own. HAProxy's has all offloads on; the dispatcher's must do
//! without some of them.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::Result;
use tests::{
    Family, FrontOptions, HaproxyOptions, Host, Rig,
    load::{self, Level},
};

/// What the servers need for a request; each does one at a time.
const SERVICE: Duration = Duration::from_millis(10);

/// Work that every server holds when everybody is refused: two requests behind the one that is served, and a little for bursts.
const LOAD_BOUND: &str = "32ms";

/// Of the bound, in percent. The medium level is refused from 17 ms of work on, the low one from 9.5 ms: the one has a request behind
/// the one that is served, the other what would be idle. More would only make those wait who are let in.
const LOAD_RESERVE: u32 = 82;

/// Of the bound, in percent: much less than a request. Whoever waits for T to fall further lets in a burst afterwards.
const HYSTERESIS: u32 = 5;

/// Below the bound, as the least busy server decides about overload and others may hold so much more; above nothing, as it is for
/// the sake of caches that classes stay where they are.
const LOAD_THRESHOLD: &str = "2x";

/// One in service and one behind it, so that a server need not wait for the next.
const HAPROXY_MAXCONN: u32 = 2;

/// Far below the clients' patience.
const HAPROXY_TIMEOUT_QUEUE: &str = "500ms";

/// Who meets the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Admission,
    Bare,
    Haproxy,
}

impl Contender {
    pub(crate) const ALL: [Self; 3] = [Self::Admission, Self::Bare, Self::Haproxy];

    /// In tables and files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admission => "dispatcher, admission",
            Self::Bare => "dispatcher, none",
            Self::Haproxy => "HAProxy",
        }
    }

    /// DISPATCHER_CONTENDERS takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        tests::chosen("DISPATCHER_CONTENDERS", Self::ALL)
    }

    const fn instance(self) -> &'static str {
        match self {
            Self::Admission => "overload-ours",
            Self::Bare => "overload-bare",
            Self::Haproxy => "overload-proxy",
        }
    }
}

/// All rigs.
pub(crate) struct Stage(Vec<(Contender, Rig)>);

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        Contender::chosen()
            .into_iter()
            .map(|contender| Ok((contender, start(contender)?)))
            .collect::<Result<_>>()
            .map(Self)
    }

    fn rig(&self, contender: Contender) -> &Rig {
        let rig = self.0.iter().find(|(other, _)| *other == contender);
        &rig.expect("every contender has a rig").1
    }

    pub(crate) fn client(&self, contender: Contender) -> Result<&Host> {
        self.rig(contender).host("client")
    }

    /// Where clients send their requests.
    pub(crate) fn target(&self, contender: Contender) -> SocketAddr {
        let plan = self.rig(contender).plan();
        match contender {
            Contender::Haproxy => (plan.address("front", Family::V4), 8080).into(),
            _ => (plan.address("vip", Family::V4), 80).into(),
        }
    }

    /// Requests that all servers of a rig serve in a second.
    pub(crate) fn capacity(&self, clients: u16, time: Duration) -> Result<f64> {
        let (_, rig) = &self.0[0];
        let server = |name: &String| (rig.plan().address(name, Family::V4), 80).into();
        let servers: Vec<SocketAddr> = rig.plan().server_names().iter().map(server).collect();
        load::saturate(rig.host("client")?, &servers, clients, time)
    }

    /// How often overload has begun, and how many flows were evicted.
    pub(crate) fn events(&self, contender: Contender) -> Result<Events> {
        let rig = self.rig(contender);
        if contender != Contender::Admission {
            return Ok(Events::default());
        }
        let sum = |what: &str, key: &str| -> Result<u64> {
            Ok(rig.show("front", what)?.iter().filter_map(|row| row[key].as_u64()).sum())
        };
        Ok(Events { overloads: sum("admission", "overloads")?, evictions: sum("priorities", "evicted")? })
    }
}

/// What happened at the front-end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    pub(crate) overloads: u64,
    pub(crate) evictions: u64,
}

impl Events {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { overloads: self.overloads - before.overloads, evictions: self.evictions - before.evictions }
    }
}

fn start(contender: Contender) -> Result<Rig> {
    let mut rig = Rig::builder(contender.instance())
        .slowable(true)
        .full_offloads(contender == Contender::Haproxy)
        .start()?;
    load::attach(&rig)?;
    for server in rig.plan().server_names() {
        rig.set_slow(&server, SERVICE)?;
    }
    match contender {
        Contender::Admission => rig.start_dispatcher(&FrontOptions { more: admission(&rig)?, ..front() })?,
        Contender::Bare => rig.start_dispatcher(&front())?,
        Contender::Haproxy => rig.start_haproxy_with(&haproxy())?,
    }
    Ok(rig)
}

fn front() -> FrontOptions {
    FrontOptions { load_threshold: LOAD_THRESHOLD.to_owned(), ..FrontOptions::default() }
}

fn admission(rig: &Rig) -> Result<String> {
    let path = rig.plan().run_dir().join("front/web.members");
    let rule = |level: Level| format!("{} * - {}\n", level.network(), level.priority());
    fs::write(&path, Level::ALL.map(rule).concat())?;
    let more = std::env::var("DISPATCHER_ADMISSION").unwrap_or_default().replace(';', "\n");
    let ours =
        format!("load_bound = \"{LOAD_BOUND}\"\nload_reserve = {LOAD_RESERVE}\nhysteresis = {HYSTERESIS}");
    let keys = if more.is_empty() { ours } else { more };
    Ok(format!("members = \"{}\"\n[service.admission]\n{keys}\n", path.display()))
}

/// As its documentation has it (configuration manual, `maxconn` of servers and `http-request set-priority-class`).
fn haproxy() -> HaproxyOptions {
    let class = |(class, level): (usize, Level)| {
        format!("    http-request set-priority-class int({class}) if {{ src {} }}\n", level.network())
    };
    HaproxyOptions {
        frontend: Level::ALL.into_iter().enumerate().map(class).collect(),
        backend: format!("    balance leastconn\n    timeout queue {HAPROXY_TIMEOUT_QUEUE}\n"),
        server: format!("maxconn {HAPROXY_MAXCONN}"),
        ..HaproxyOptions::default()
    }
}

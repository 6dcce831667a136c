//! The rig that the tests share: three servers, each with nginx, a second site of it that soon closes connections, and the dynamic
//! server; every request goes to a random server. It stands as long as tests succeed; the end of the program removes it.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, Once},
    thread,
    time::Duration,
};

use tests::{
    BackOptions, Family, FrontOptions, Growth, Host, Impatient, Rig, RigBuilder, skipped, wire::Peer,
};

use crate::{
    client::{Client, Response},
    compare,
    dynamic::{self, Dynamic},
};

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Port of the servers' nginx.
pub(crate) const WEB: u16 = 80;

/// nginx, which is quick to close.
pub(crate) const IMPATIENT: Impatient =
    Impatient { port: 83, keepalive: Duration::from_millis(400), requests: 12 };

/// Further services and rules. Classes change nothing for a random policy, but the front-end has to tell them apart all the same.
const SETTINGS: &str = r#"
[[service.class]]
name = "static"
path_prefix = "/bytes/"

[[service.class]]
name = "pages"
path_prefix = "/page/"

[[service]]
name = "dynamic"
vip = ["198.18.0.100", "2001:db8::100"]
port = 82
policy = "random"

[[service]]
name = "impatient"
vip = ["198.18.0.100", "2001:db8::100"]
port = 83
policy = "random"
"#;

static STANDING: Mutex<Option<Standing>> = Mutex::new(None);
static AT_EXIT: Once = Once::new();

/// What stands. Fields are dropped in this order: whoever has sockets in the rig goes before it.
pub(crate) struct Standing {
    _dynamic: Vec<Dynamic>,
    pub(crate) peer: Peer,
    pub(crate) rig: Rig,
}

/// The shared rig for the time of one test, and counters since its beginning.
pub(crate) struct Stage {
    guard: MutexGuard<'static, Option<Standing>>,
    growth: Growth,
}

/// The shared rig, or `None` after the reason of a skip was printed.
pub(crate) fn shared() -> Option<Stage> {
    if skipped(&test_name()) {
        return None;
    }
    AT_EXIT.call_once(|| {
        // SAFETY: the handler is a plain function of the right type; it runs once, in the thread that ends the program.
        unsafe { libc::atexit(remove) };
    });
    let mut guard = STANDING.lock().unwrap_or_else(|poisoned| {
        STANDING.clear_poison();
        let mut guard = poisoned.into_inner();
        *guard = None;
        guard
    });
    let standing = guard.get_or_insert_with(|| Standing::start(Rig::builder("per-request")));
    let growth = Growth::since_now(&standing.rig);
    Some(Stage { guard, growth })
}

pub(crate) fn test_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

impl Standing {
    /// Starts everything in a rig of these properties.
    pub(crate) fn start(builder: RigBuilder) -> Self {
        let mut rig = builder.impatient(IMPATIENT).start().unwrap();
        let servers = rig.plan().server_names();
        for server in &servers {
            rig.start_back_with(server, &agent_options()).unwrap();
        }
        let policy = "random".to_owned();
        let options = FrontOptions { policy, more: SETTINGS.to_owned(), ..FrontOptions::default() };
        rig.start_front(&options).unwrap();
        rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
        let dynamic = servers.iter().map(|server| Dynamic::start(rig.host(server).unwrap())).collect();
        Self { _dynamic: dynamic, peer: Peer::new(&rig).unwrap(), rig }
    }
}

fn agent_options() -> BackOptions {
    BackOptions::default().alter(|text| {
        for port in [dynamic::PORT, IMPATIENT.port] {
            text.push_str(&format!(
                "\n[[service]]\nvip = [\"198.18.0.100\", \"2001:db8::100\"]\nport = {port}\n"
            ));
        }
    })
}

impl Stage {
    pub(crate) fn rig(&self) -> &Rig {
        &self.standing().rig
    }

    pub(crate) fn rig_mut(&mut self) -> &mut Rig {
        &mut self.guard.as_mut().expect("a stage has a rig as long as it lives").rig
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.standing().peer
    }

    /// Counters since the test began.
    pub(crate) fn growth(&self) -> &Growth {
        &self.growth
    }

    /// The host of the clients.
    pub(crate) fn client_host(&self) -> &Host {
        self.rig().host("client").unwrap()
    }

    /// A connection through the dispatcher.
    pub(crate) fn client(&self, family: Family, port: u16) -> Client {
        Client::connect(self.client_host(), address(self.rig(), "vip", family, port))
    }

    /// A connection to a server's own address.
    pub(crate) fn direct(&self, family: Family, port: u16) -> Client {
        Client::connect(self.client_host(), address(self.rig(), "server1", family, port))
    }

    /// Plays a scene on a connection through the dispatcher and on a direct one, which have to look the same to the client; gives
    /// what came through the dispatcher.
    pub(crate) fn same_as_direct(
        &self,
        family: Family,
        port: u16,
        scene: impl Fn(&mut Client) -> Vec<Response>,
    ) -> Vec<Response> {
        let direct = scene(&mut self.direct(family, port));
        let through = scene(&mut self.client(family, port));
        compare::same(&through, &direct, &format!("{family:?}, port {port}"));
        through
    }

    fn standing(&self) -> &Standing {
        self.guard.as_ref().expect("a stage has a rig as long as it lives")
    }
}

/// Address of a host or of `vip`.
pub(crate) fn address(rig: &Rig, host: &str, family: Family, port: u16) -> SocketAddr {
    (rig.plan().address(host, family), port).into()
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            for role in ["front", "server1", "server2", "server3"] {
                eprintln!("{role} counted: {:?}", self.growth.all_of(self.rig(), role));
            }
        }
    }
}

extern "C" fn remove() {
    STANDING.clear_poison();
    if let Ok(mut guard) = STANDING.lock() {
        *guard = None;
    }
}

//! The rig that most tests share: three servers, an echo service on server 1, short time-outs. It stands as long as tests
//! succeed; one that fails, or that says it leaves the rig changed, makes the next one start afresh. The end of the program
//! removes it.

use std::{
    sync::{Mutex, MutexGuard, Once},
    thread,
    time::Duration,
};

use tests::{BackOptions, Family, FrontOptions, Rig, skipped, wire::Peer};

use crate::echo::{ECHO_PORT, Echo};

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Rules and limits of the shared rig beyond the defaults.
pub(crate) const SETTINGS: &str = r#"
[[service.class]]
name = "images"
path_prefix = "/images/"

[[service]]
name = "echo"
vip = ["198.18.0.100", "2001:db8::100"]
port = 81
servers = ["server1"]
policy = "round-robin"

[slow_path]
head_timeout = "2s"

[timeouts]
closing = "2s"
"#;

static STANDING: Mutex<Option<Standing>> = Mutex::new(None);
static AT_EXIT: Once = Once::new();

/// What stands. Fields are dropped in this order: whoever has sockets in the rig goes before it.
pub(crate) struct Standing {
    pub(crate) peer: Peer,
    _echo: Echo,
    pub(crate) rig: Rig,
    /// The front-end runs for one test only.
    own_front: bool,
}

/// What a test has in the configuration of the web service, beside what all have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Web<'a> {
    /// Policy, if not the usual one.
    pub(crate) policy: &'a str,
    /// Keys of the service.
    pub(crate) keys: &'a str,
    /// Text of its file of rules, if it has one.
    pub(crate) members: &'a str,
    /// Lines of its `[service.admission]`, if it has one.
    pub(crate) admission: &'a str,
}

impl Web<'_> {
    fn options(&self, rig: &Rig) -> FrontOptions {
        let mut more = self.keys.to_owned();
        if !self.members.is_empty() {
            std::fs::write(members_file(rig), self.members).unwrap();
            more.push_str("members = \"web.members\"\n");
        }
        if !self.admission.is_empty() {
            more.push_str(&format!("\n[service.admission]\n{}\n", self.admission));
        }
        let mut options = FrontOptions { more: more + SETTINGS, ..front_options() };
        if !self.policy.is_empty() {
            options.policy = self.policy.to_owned();
        }
        options
    }
}

/// The rules of the web service, as its configuration names them.
pub(crate) fn members_file(rig: &Rig) -> std::path::PathBuf {
    rig.plan().run_dir().join("front/web.members")
}

/// The shared rig for the time of one test.
pub(crate) struct Stage {
    guard: MutexGuard<'static, Option<Standing>>,
    changed: bool,
}

/// The shared rig, or `None` after the reason of a skip was printed.
pub(crate) fn shared() -> Option<Stage> {
    let mut stage = take()?;
    if stage.standing().own_front {
        stage.standing_mut().serve(&front_options(), false);
    }
    Some(stage)
}

/// The shared rig with a front-end of this test's own, which has just started.
pub(crate) fn with_web(web: &Web<'_>) -> Option<Stage> {
    let mut stage = take()?;
    let options = web.options(stage.rig());
    stage.standing_mut().serve(&options, true);
    Some(stage)
}

fn take() -> Option<Stage> {
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
    let whole = |standing: &Standing| standing.rig.wait_until_servers_up(Duration::from_secs(2)).is_ok();
    if !guard.as_ref().is_some_and(whole) {
        // The old rig must be gone before the new one of its name starts.
        *guard = None;
        *guard = Some(Standing::start());
    }
    Some(Stage { guard, changed: false })
}

/// Name of the running test, with its file: `traffic::name`.
pub(crate) fn test_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Starts all agents with the echo service beside the web service.
pub(crate) fn start_agents(rig: &mut Rig) {
    for server in rig.plan().server_names() {
        rig.start_back_with(&server, &agent_options()).unwrap();
    }
}

/// An agent's options with the echo service beside the web service.
pub(crate) fn agent_options() -> BackOptions {
    BackOptions::default().alter(|text| {
        text.push_str(&format!(
            "\n[[service]]\nvip = [\"198.18.0.100\", \"2001:db8::100\"]\nport = {ECHO_PORT}\n"
        ));
    })
}

pub(crate) fn front_options() -> FrontOptions {
    // Above what a preempted response looks like on a busy machine: tests say themselves when load is to move a class.
    FrontOptions { more: SETTINGS.to_owned(), load_threshold: "250ms".to_owned(), ..FrontOptions::default() }
}

impl Standing {
    fn start() -> Self {
        let mut rig = Rig::builder("e2e").slowable(true).start().unwrap();
        start_agents(&mut rig);
        rig.start_front(&front_options()).unwrap();
        rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
        let echo = Echo::start(rig.host("server1").unwrap());
        Self { peer: Peer::new(&rig).unwrap(), _echo: echo, rig, own_front: false }
    }

    /// Starts the front-end anew with other options.
    fn serve(&mut self, options: &FrontOptions, own: bool) {
        self.own_front = own;
        self.rig.stop("front").unwrap();
        self.rig.start_front(options).unwrap();
        self.rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    }
}

impl Stage {
    pub(crate) fn rig(&mut self) -> &mut Rig {
        &mut self.standing_mut().rig
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.standing().peer
    }

    /// Rig and scripted client at once.
    pub(crate) fn both(&mut self) -> (&mut Rig, &Peer) {
        let standing = self.standing_mut();
        (&mut standing.rig, &standing.peer)
    }

    /// Says that the rig is not to be used by another test.
    pub(crate) fn leaves_changes(&mut self) {
        self.changed = true;
    }

    fn standing(&self) -> &Standing {
        self.guard.as_ref().expect("a stage has a rig as long as it lives")
    }

    fn standing_mut(&mut self) -> &mut Standing {
        self.guard.as_mut().expect("a stage has a rig as long as it lives")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            let rig = &self.standing().rig;
            for role in ["front", "server1", "server2", "server3"] {
                let log = rig.log(role);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("log of {role}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
        }
        if self.changed {
            *self.guard = None;
        }
    }
}

extern "C" fn remove() {
    if let Ok(mut guard) = STANDING.lock() {
        *guard = None;
    } else {
        STANDING.clear_poison();
        if let Ok(mut guard) = STANDING.lock() {
            *guard = None;
        }
    }
}

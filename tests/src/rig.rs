//! A rig from start to clean-up, and the processes on its hosts.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{sys::signal::Signal, unistd::Uid};

use crate::{
    content,
    delay::DelayServer,
    haproxy::{self, HaproxyOptions},
    host::Host,
    leftovers,
    lock::Lock,
    nginx::{self, Content, Impatient},
    nginx_proxy, pass,
    plan::Plan,
    process::Tracked,
    roles::{BackOptions, FrontOptions, back_text, front_text},
    site::CachedSite,
    wiring,
};

/// A role loads its programs within this time even on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What a rig is to be.
#[derive(Clone, Debug)]
pub struct RigBuilder {
    instance: String,
    servers: usize,
    two_arm: bool,
    straight: bool,
    dispatcher: Option<PathBuf>,
    nginx_workers: usize,
    content: Content,
    impatient: Option<Impatient>,
    settings: Vec<(&'static str, &'static str)>,
    links: wiring::Links,
}

/// A running rig. Dropping it removes everything.
#[derive(Debug)]
pub struct Rig {
    plan: Plan,
    hosts: BTreeMap<String, Host>,
    dispatcher: PathBuf,
    processes: BTreeMap<String, Tracked>,
    options: BTreeMap<String, RoleOptions>,
    pub(crate) delays: BTreeMap<String, DelayServer>,
    nginx_workers: usize,
    content: Content,
    impatient: Option<Impatient>,
    kept: bool,
    _lock: Lock,
}

#[derive(Clone, Debug)]
enum RoleOptions {
    Front(FrontOptions),
    Back(BackOptions),
}

/// A host together with what is needed to start a program there.
pub(crate) struct Server<'a> {
    pub host: &'a Host,
    pub run_dir: &'a Path,
}

impl Server<'_> {
    /// Starts a program whose output goes to `<run dir>/<host>/<name>.log`.
    pub(crate) fn spawn(&self, name: &str, mut command: Command) -> Result<Tracked> {
        let path = log_path(self.run_dir, self.host.name(), name);
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Tracked::spawn(self.run_dir, self.host, name, command)
    }
}

impl RigBuilder {
    /// Number of servers; 3 unless set.
    #[must_use]
    pub fn servers(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    /// Gives the front-end a second interface towards the servers.
    #[must_use]
    pub fn two_arm(mut self, two_arm: bool) -> Self {
        self.two_arm = two_arm;
        self
    }

    /// Joins client, front-end and servers without switches, which real hosts do not pay for; the front-end has two interfaces then,
    /// and so has the client: responses come in by the second.
    #[must_use]
    pub fn straight(mut self) -> Self {
        self.two_arm = true;
        self.straight = true;
        self
    }

    /// The `dispatcher` binary; else the environment's DISPATCHER_BIN, else target/release/dispatcher.
    #[must_use]
    pub fn dispatcher(mut self, path: impl Into<PathBuf>) -> Self {
        self.dispatcher = Some(path.into());
        self
    }

    /// nginx workers of each server; 1 unless set.
    #[must_use]
    pub fn nginx_workers(mut self, workers: usize) -> Self {
        self.nginx_workers = workers;
        self
    }

    /// Lets `Rig::set_slow` work, at the price of a `stat` by nginx for each request.
    #[must_use]
    pub fn slowable(mut self, slowable: bool) -> Self {
        self.content = if slowable { Content::Slowable } else { Content::Text };
        self
    }

    /// Makes the servers cache a part of what a slow origin, one for each of them, has: all outside /bytes/.
    #[must_use]
    pub fn cached(mut self, site: CachedSite) -> Self {
        self.content = Content::Cached(site);
        self
    }

    /// Lets the servers have a second site, which soon closes connections.
    #[must_use]
    pub fn impatient(mut self, site: Impatient) -> Self {
        self.impatient = Some(site);
        self
    }

    /// All offloads everywhere, for measuring HAProxy or a server at its best. The dispatcher cannot run in such a rig.
    #[must_use]
    pub fn full_offloads(mut self, full_offloads: bool) -> Self {
        self.links.full_offloads = full_offloads;
        self
    }

    /// A kernel setting of all hosts, as of `Host::sysctl`; sockets that are made before it is set do not always follow.
    #[must_use]
    pub fn setting(mut self, key: &'static str, value: &'static str) -> Self {
        self.settings.push((key, value));
        self
    }

    /// Reno on all hosts: without losses the same as Linux's default, cubic, which a namespace may not choose for itself. A machine that
    /// is set up with BBR has proxies wait between segments.
    #[must_use]
    pub fn reno(self) -> Self {
        self.setting("ipv4/tcp_congestion_control", "reno")
    }

    /// RX queues of the front-end's interfaces; 1 unless set.
    #[must_use]
    pub fn front_queues(mut self, queues: usize) -> Self {
        self.links.front_queues = queues;
        self
    }

    /// Removes what an earlier rig of this name left, makes the network and starts nginx on every server.
    ///
    /// # Errors
    /// If not root, or a program or a feature of the kernel is missing; nothing is left then.
    pub fn start(self) -> Result<Rig> {
        ensure!(Uid::effective().is_root(), "the rig makes network namespaces: run it as root");
        let plan = Plan { straight: self.straight, ..Plan::new(&self.instance, self.servers, self.two_arm)? };
        let lock = Lock::take(&self.instance)?;
        leftovers::remove(&self.instance)?;
        let hosts =
            plan.host_names().into_iter().map(|name| (name.clone(), Host::new(&plan, &name))).collect();
        let dispatcher = self.dispatcher.clone().unwrap_or_else(default_dispatcher);
        let mut rig = Rig {
            plan,
            hosts,
            dispatcher,
            processes: BTreeMap::new(),
            options: BTreeMap::new(),
            delays: BTreeMap::new(),
            nginx_workers: self.nginx_workers,
            content: self.content,
            impatient: self.impatient,
            kept: false,
            _lock: lock,
        };
        // From here on a failure drops `rig`, which removes what there is.
        rig.make(&self)?;
        Ok(rig)
    }
}

impl Rig {
    /// A rig to be, of 3 servers and one arm. One process at a time can have a rig of a name; others wait.
    #[must_use]
    pub fn builder(instance: &str) -> RigBuilder {
        RigBuilder {
            instance: instance.to_owned(),
            servers: 3,
            two_arm: false,
            straight: false,
            dispatcher: None,
            nginx_workers: 1,
            content: Content::Text,
            impatient: None,
            settings: Vec::new(),
            links: wiring::Links { full_offloads: false, front_queues: 1 },
        }
    }

    /// Names, addresses and paths.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The `dispatcher` binary in use.
    #[must_use]
    pub fn dispatcher(&self) -> &Path {
        &self.dispatcher
    }

    /// A host by name: `client`, `front`, `server1`…, `switch`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.get(name).ok_or_else(|| {
            anyhow!("the rig has no host {name}: it has {}", self.plan.host_names().join(", "))
        })
    }

    /// Starts a command made by `Host::command`; it is killed when the result is dropped, at the latest with the rig.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, host: &str, command: Command) -> Result<Tracked> {
        let name = command.get_program().to_string_lossy().into_owned();
        Tracked::spawn(&self.plan.run_dir(), self.host(host)?, &name, command)
    }

    /// Writes the front-end's configuration, starts it and waits until it answers.
    ///
    /// # Errors
    /// If it ends or does not answer in time; the message holds its log.
    pub fn start_front(&mut self, options: &FrontOptions) -> Result<()> {
        self.start_role("front", RoleOptions::Front(options.clone()))
    }

    /// As `start_back_with` and default options.
    ///
    /// # Errors
    /// As `start_front`.
    pub fn start_back(&mut self, server: &str) -> Result<()> {
        self.start_back_with(server, &BackOptions::default())
    }

    /// Writes the configuration of a server's agent, starts it and waits until it answers.
    ///
    /// # Errors
    /// As `start_front`.
    pub fn start_back_with(&mut self, server: &str, options: &BackOptions) -> Result<()> {
        self.start_role(server, RoleOptions::Back(options.clone()))
    }

    /// Starts all agents and the front-end, with default options for the agents, and waits until all servers are up.
    ///
    /// # Errors
    /// As `start_front`.
    pub fn start_dispatcher(&mut self, options: &FrontOptions) -> Result<()> {
        for server in self.plan.server_names() {
            self.start_back(&server)?;
        }
        self.start_front(options)?;
        self.wait_until_servers_up(START_LIMIT).with_context(|| self.log_tail("front"))
    }

    /// As `start_haproxy_with` and no further lines.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn start_haproxy(&mut self) -> Result<()> {
        self.start_haproxy_with(&HaproxyOptions::default())
    }

    /// Starts HAProxy on the front-end's host, at port 8080 of its own addresses.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn start_haproxy_with(&mut self, options: &HaproxyOptions) -> Result<()> {
        let run_dir = self.plan.run_dir();
        let config = run_dir.join("front/haproxy.cfg");
        fs::write(&config, haproxy::text(&self.plan, options))?;
        let host = self.host("front")?;
        let mut command = host.command("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&config);
        let process = Server { host, run_dir: &run_dir }.spawn("haproxy", command)?;
        self.processes.insert("haproxy".to_owned(), process);
        let address = self.plan.address("front", crate::Family::V4);
        self.wait_for_port("front", "haproxy", &format!("{address}:{}", haproxy::PORT))
    }

    /// Starts nginx as a proxy on the front-end's host, at port 8081 of its own addresses.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn start_nginx_proxy(&mut self) -> Result<()> {
        let run_dir = self.plan.run_dir();
        let config = run_dir.join("front/nginx.conf");
        fs::write(&config, nginx_proxy::text(&self.plan))?;
        let host = self.host("front")?;
        let mut command = host.command("/usr/sbin/nginx");
        command.arg("-p").arg(run_dir.join("front")).arg("-c").arg(&config);
        command.arg("-e").arg(run_dir.join("front/error.log"));
        let process = Server { host, run_dir: &run_dir }.spawn("nginx", command)?;
        self.processes.insert("nginx-proxy".to_owned(), process);
        let address = self.plan.address("front", crate::Family::V4);
        self.wait_for_port("front", "nginx-proxy", &format!("{address}:{}", nginx_proxy::PORT))
    }

    /// Ends a role (`front`, `server1`…) or `haproxy` by SIGTERM; after 5 s it is killed.
    ///
    /// # Errors
    /// If it was not started.
    pub fn stop(&mut self, name: &str) -> Result<ExitStatus> {
        self.take_process(name)?.stop(STOP_LIMIT)
    }

    /// Ends a role by SIGKILL.
    ///
    /// # Errors
    /// If it was not started or has ended by itself.
    pub fn kill9(&mut self, name: &str) -> Result<()> {
        let mut process = self.take_process(name)?;
        process.signal(Signal::SIGKILL)?;
        process.wait(STOP_LIMIT).map(drop)
    }

    /// Starts a role anew with the options it had, after ending it if it still runs.
    ///
    /// # Errors
    /// As `start_front`.
    pub fn restart(&mut self, role: &str) -> Result<()> {
        let options = self.options.get(role).cloned().ok_or_else(|| anyhow!("{role} was never started"))?;
        if self.processes.contains_key(role) {
            self.stop(role)?;
        }
        self.start_role(role, options)
    }

    /// A role or `haproxy` as a process, for its number and signals.
    ///
    /// # Errors
    /// If it was not started.
    pub fn process(&mut self, name: &str) -> Result<&mut Tracked> {
        self.processes.get_mut(name).ok_or_else(|| anyhow!("{name} was not started in this rig"))
    }

    /// What a role has written to standard output and standard error since its last start.
    #[must_use]
    pub fn log(&self, role: &str) -> String {
        fs::read_to_string(log_path(&self.plan.run_dir(), role, "dispatcher")).unwrap_or_default()
    }

    /// Makes a server answer one request at a time, each after `delay`; zero makes it quick again. /bytes/ stays quick.
    ///
    /// # Errors
    /// If the rig was not built with `slowable(true)`.
    pub fn set_slow(&mut self, server: &str, delay: Duration) -> Result<()> {
        self.set_origin(server, delay, !delay.is_zero())
    }

    /// Lets everything run on after this process; `remove_leftovers` ends it.
    pub fn leave(mut self) {
        self.kept = true;
        for (_, process) in std::mem::take(&mut self.processes) {
            process.leave();
        }
    }

    fn make(&mut self, builder: &RigBuilder) -> Result<()> {
        let run_dir = self.plan.run_dir();
        fs::create_dir_all(run_dir.join("processes"))
            .with_context(|| format!("cannot make {}", run_dir.display()))?;
        for name in self.plan.host_names() {
            fs::create_dir_all(run_dir.join(name))?;
        }
        pass::mount_bpffs()?;
        wiring::build(&self.plan, builder.links, &builder.settings)?;
        content::write_files(&run_dir.join("content/bytes"))?;
        for name in self.plan.server_names() {
            let host = self.host(&name)?;
            let delay = match builder.content {
                Content::Text => None,
                Content::Slowable => Some(DelayServer::start(host, 1, 0)?),
                Content::Cached(site) => {
                    Some(DelayServer::start(host, site.origin_threads, site.object_bytes)?)
                }
            };
            self.delays.extend(delay.map(|delay| (name.clone(), delay)));
        }
        self.start_nginx()
    }

    pub(crate) fn start_nginx(&mut self) -> Result<()> {
        let run_dir = self.plan.run_dir();
        for name in self.plan.server_names() {
            let server = Server { host: self.host(&name)?, run_dir: &run_dir };
            let process = nginx::start(&server, self.nginx_workers, self.content, self.impatient)?;
            self.processes.insert(nginx_of(&name), process);
        }
        for name in self.plan.server_names() {
            self.wait_for_port(&name, &nginx_of(&name), "127.0.0.1:80")?;
        }
        Ok(())
    }

    fn start_role(&mut self, role: &str, options: RoleOptions) -> Result<()> {
        ensure!(!self.processes.contains_key(role), "{role} runs already: use restart");
        let (verb, text, arguments) = match &options {
            RoleOptions::Front(front) => ("front", front_text(&self.plan, front), &front.arguments),
            RoleOptions::Back(back) => ("back", back_text(&self.plan, role, back), &back.arguments),
        };
        let run_dir = self.plan.run_dir();
        let config = run_dir.join(role).join("dispatcher.toml");
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let host = self.host(role)?;
        let mut command = host.command(&self.dispatcher);
        command.arg(verb).arg("--config").arg(&config).args(arguments);
        let process = Server { host, run_dir: &run_dir }.spawn("dispatcher", command)?;
        self.processes.insert(role.to_owned(), process);
        self.options.insert(role.to_owned(), options);
        self.wait_until_ready(role)
    }

    /// A socket file may be left from a killed predecessor: only an answer counts.
    fn wait_until_ready(&mut self, role: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.show(role, "counters");
            if let Some(status) = self.process(role)?.ended()? {
                self.processes.remove(role);
                bail!("{role} has ended: {status}\n{}", self.log_tail(role));
            }
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > START_LIMIT => return Err(error.context(self.log_tail(role))),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn wait_for_port(&mut self, host: &str, process: &str, address: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.host(host)?.enter(|| TcpStream::connect(address).is_ok())? {
                return Ok(());
            }
            let ended = self.process(process)?.ended()?;
            if ended.is_some() || start.elapsed() > START_LIMIT {
                let program = if process.starts_with("nginx") { "nginx" } else { process };
                let log =
                    fs::read_to_string(log_path(&self.plan.run_dir(), host, program)).unwrap_or_default();
                bail!("{process} does not listen on {address}: {}", log.trim());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn take_process(&mut self, name: &str) -> Result<Tracked> {
        self.processes.remove(name).ok_or_else(|| anyhow!("{name} was not started in this rig"))
    }

    fn log_tail(&self, role: &str) -> String {
        let log = self.log(role);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("log of {role}:\n{tail}")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.delays.clear();
        // Roles detach their programs on SIGTERM; what is pinned goes with `remove` in any case.
        for process in self.processes.values_mut() {
            let _ = process.signal(Signal::SIGTERM);
        }
        for process in self.processes.values_mut() {
            let _ = process.wait(Duration::from_secs(2));
        }
        self.processes.clear();
        if let Err(error) = leftovers::remove(self.plan.instance()) {
            eprintln!("rig {} is not removed: {error:#}", self.plan.instance());
        }
    }
}

/// Its name among the processes.
pub(crate) fn nginx_of(server: &str) -> String {
    format!("nginx of {server}")
}

fn default_dispatcher() -> PathBuf {
    std::env::var_os("DISPATCHER_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/dispatcher"),
        PathBuf::from,
    )
}

fn log_path(run_dir: &Path, host: &str, program: &str) -> PathBuf {
    run_dir.join(host).join(program).with_extension("log")
}

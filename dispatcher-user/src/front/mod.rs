//! The front-end's control plane. [`run`] brings up the program, the slow path and everything beside them in the order in
//! which they need one another, and takes them down again.

pub mod admission;
pub mod census;
pub mod choice;
pub mod counters;
pub mod dispatch;
pub mod feedback;
pub mod gate;
pub mod interface;
pub mod kept;
pub mod members;
pub mod model;
pub mod neighbour;
pub mod program;
pub mod roster;
pub mod server_table;
pub mod service_table;
pub mod settings;
pub mod slow_path;
pub mod status;
pub mod sweep;

use std::{future::Future, io, os::fd::AsFd, sync::Arc, time::Duration};

use aya::maps::{MapError, XskMap};
use dispatcher_common::{
    class_cache::CachedClass,
    filter::{Filter, FlowKey},
    siphash::SipKey,
};
use dispatcher_core::{
    config::{FrontConfig, Mode},
    member::MemberTable,
    policy::UnknownPolicy,
    secret::Secret,
};
use futures_util::Stream;
use rtnetlink::{Handle, MulticastGroup};
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::{
    admission::{Admission, ledger::Ledger},
    choice::Choices,
    counters::ControlCounters,
    feedback::{Feedback, FeedbackError},
    gate::Gates,
    interface::{Interface, InterfaceError},
    kept::KeptRequests,
    members::{Members, MembersError},
    model::Model,
    neighbour::{Message, NeighbourError, Neighbours},
    program::Program,
    roster::Roster,
    server_table::ServerTable,
    service_table::ServiceTable,
    settings::SettingsTable,
    slow_path::{ClassCache, SlowPath, SlowPathError, SlowPathOptions},
    status::Status,
    sweep::{Loss, Sweep},
};
use crate::{
    control_socket::{ControlSocket, ControlSocketError},
    kernel::{object::LoadError, pin::PinError, table::Table},
    stop,
};

/// The filter-table: the FILTERS map.
pub type FilterTable = Table<FlowKey, Filter>;

/// The class cache: the CLASS_CACHE map.
pub type ClassCacheTable = Table<u64, CachedClass>;

/// How often the slow path is asked whether all its threads run.
const HEALTH_PERIOD: Duration = Duration::from_millis(200);

/// The front-end cannot start or go on.
#[derive(Debug, Error)]
pub enum FrontError {
    /// For the operator, mostly: rights, pins, driver.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// For the operator.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// For the operator.
    #[error(transparent)]
    ControlSocket(#[from] ControlSocketError),
    /// For the operator.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
    /// For the operator.
    #[error(transparent)]
    Policy(#[from] UnknownPolicy),
    /// For the operator, mostly.
    #[error(transparent)]
    SlowPath(#[from] SlowPathError),
    /// For the operator: the reason is in the messages before.
    #[error("the slow path of {0} ended; start the dispatcher again when the interface is back")]
    SlowPathEnded(String),
    /// For the operator.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// From the kernel, mostly.
    #[error(transparent)]
    Neighbour(#[from] NeighbourError),
    /// For the operator: the rules' files.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// From the kernel, unexpected.
    #[error("cannot map the counts of flows and requests: {0}; this needs Linux 5.5 or newer")]
    Ledger(#[source] io::Error),
    /// From the kernel, unexpected.
    #[error("cannot use a map of the front-end's program: {0}; remove the pin path and start again")]
    Map(#[from] MapError),
    /// From the kernel, unexpected.
    #[error("cannot start the control plane: {0}; check the limits on processes and open files")]
    System(#[from] io::Error),
}

/// Runs a front-end until SIGTERM or SIGINT, then detaches it and removes its pins. `tables` are the member-tables of the
/// services, as [`members::read`] gives them.
///
/// # Errors
/// When it cannot start: then nothing is left, or, if an earlier control plane was killed, what that one left. When it
/// cannot go on: then the program and its maps stay, for the next control plane to take over.
pub fn run(config: &FrontConfig, secret: &Secret, tables: Vec<MemberTable>) -> Result<(), FrontError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stop::signalled()?;
        let control_socket = ControlSocket::bind(&config.control_socket)?;
        let mut program = Program::load(config)?;
        let started = start(config, secret, tables, &mut program).await;
        let result = match started {
            Ok(front) => front.serve(control_socket, stopped).await,
            Err(error) => {
                program.give_up();
                return Err(error);
            }
        };
        if result.is_ok() {
            program.remove()?;
            tracing::info!("detached from {}", config.interface);
        }
        result
    })
}

/// A front-end that serves, in its parts.
struct Front {
    name: String,
    slow_path: SlowPath,
    feedback: Feedback,
    sweep: Sweep,
    gates: Gates,
    losses: UnboundedReceiver<Loss>,
    neighbours: Neighbours,
    messages: Box<dyn Stream<Item = Message> + Unpin>,
    settings: SettingsTable,
    status: Status,
    handle: Handle,
    server_interface: String,
}

/// Brings everything up. New requests are served from the moment that the servers' first reports arrive.
async fn start(
    config: &FrontConfig,
    secret: &Secret,
    tables: Vec<MemberTable>,
    program: &mut Program,
) -> Result<Front, FrontError> {
    let (connection, handle, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh])?;
    tokio::spawn(connection);
    let (clients, servers) = both_sides(&handle, config).await?;
    let maps = program.take_maps()?;
    let control_counters = Arc::new(ControlCounters::default());
    // Before the services, whose numbers and classes may mean others than those in the class cache.
    let settings =
        SettingsTable::new(maps.settings, secret, &clients, &servers, config.slow_path.head_limit)?;
    let service_table = Arc::new(ServiceTable::new(maps.services));
    let mut members = Members::new(config, secret, tables);
    let member_states = members.load(&maps.members, Arc::clone(&service_table))?;
    let ledger = Ledger::map(maps.admission.as_fd()).map_err(FrontError::Ledger)?;
    let admission = Arc::new(Admission::new(config, ledger));
    let kept = KeptRequests::map(maps.kept_requests.as_fd()).map_err(FrontError::Ledger)?;
    let model = Model::new(config, admission, Arc::new(members), Arc::clone(&control_counters))?;
    let choices = Choices::map(&maps.choice).map_err(FrontError::Ledger)?;
    let model = Arc::new(model.with_kept_requests(kept).with_choices(choices));
    let (loss_sender, losses) = unbounded_channel();
    let mut roster = Roster::open(&program.pins().own_map("ROSTER"))?;
    let moved = roster.reconcile(config, &model)?;
    let mut table = ServerTable::new(maps.servers, Arc::clone(&model), servers.mac);
    table.forget(&moved)?;
    for loss in moved.into_iter().chain(service_table.set(config, &member_states)?) {
        // Fails only while the daemon stops.
        let _ = loss_sender.send(loss);
    }
    program.set_out(servers.index)?;
    let neighbours = Neighbours::new(handle.clone(), servers.clone(), &config.servers, table).await?;
    let shared = (Arc::clone(&model), Arc::clone(&control_counters));
    let feedback = Feedback::open(config, secret.report_key(), shared.0, shared.1, roster, loss_sender)?;
    program.attach(config)?;
    let shared = (Arc::clone(&model), Arc::clone(&control_counters));
    let interfaces = (clients, servers.clone());
    let class_cache = ClassCache::new(maps.class_cache, settings.class_cache());
    let class_cache = (config.class_cache > 0).then_some(class_cache);
    let tables = (maps.filters.clone(), class_cache.clone());
    let slow_path = start_slow_path(config, secret, interfaces, maps.xsks, tables, shared)?;
    announce(config, program);
    let counters = Arc::clone(&control_counters);
    Ok(Front {
        name: config.interface.clone(),
        slow_path,
        feedback,
        sweep: Sweep::new(
            maps.filters.clone(),
            counters,
            &config.timeouts,
            Arc::clone(&model),
            maps.source_open.clone(),
        ),
        gates: Gates::new(Arc::clone(&model), service_table),
        losses,
        neighbours,
        messages: Box::new(messages),
        settings,
        status: Status {
            model,
            servers: config.servers.clone(),
            filters: maps.filters,
            control_counters,
            front_counters: maps.counters,
            traffic: maps.traffic,
            priority_stats: maps.priority_stats,
            source_open: maps.source_open,
            class_cache,
            head_limit: config.slow_path.head_limit,
        },
        handle,
        server_interface: servers.name,
    })
}

/// The interfaces towards clients and servers, which may be one.
async fn both_sides(handle: &Handle, config: &FrontConfig) -> Result<(Interface, Interface), InterfaceError> {
    let clients = Interface::find(handle, &config.interface).await?;
    let servers = match &config.server_interface {
        Some(name) => Interface::find(handle, name).await?,
        None => clients.clone(),
    };
    Ok((clients, servers))
}

fn start_slow_path(
    config: &FrontConfig,
    secret: &Secret,
    (clients, servers): (Interface, Interface),
    mut xsks: XskMap<aya::maps::MapData>,
    (filters, class_cache): (FilterTable, Option<ClassCache>),
    (model, counters): (Arc<Model>, Arc<ControlCounters>),
) -> Result<SlowPath, SlowPathError> {
    let options = SlowPathOptions {
        // Attaching may have changed the number.
        queues: interface::receive_queues(&clients.name) as u32,
        server_interface: (clients.index != servers.index).then_some(servers),
        interface: clients,
        copy_only: config.mode == Mode::Skb,
        head_limit: config.slow_path.head_limit,
        head_timeout: config.slow_path.head_timeout,
        max_collecting: config.slow_path.max_collecting,
        collect_memory_bytes: config.slow_path.collect_memory,
        ticket_key: SipKey::from_bytes(secret.ticket_key()),
    };
    SlowPath::start(
        &options,
        |queue, socket| xsks.set(queue, socket, 0).map_err(io::Error::other),
        filters,
        class_cache,
        model,
        counters,
    )
}

fn announce(config: &FrontConfig, program: &Program) {
    let mode = match config.mode {
        Mode::Native => "native",
        Mode::Skb => "skb",
    };
    if program.pins().is_reused() {
        tracing::info!("took over the filter-table below {}", config.pin_path.display());
    }
    tracing::info!(
        "serving {} on {} ({mode}) with {} servers",
        config.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", "),
        config.interface,
        config.servers.len(),
    );
}

impl Front {
    /// Serves until `stopped` completes.
    async fn serve(
        self,
        control_socket: ControlSocket,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), FrontError> {
        let Self { name, slow_path, .. } = self;
        let ended = async {
            while slow_path.is_healthy() {
                tokio::time::sleep(HEALTH_PERIOD).await;
            }
        };
        let result = tokio::select! {
            () = stopped => Ok(()),
            () = ended => Err(FrontError::SlowPathEnded(name.clone())),
            Err(error) = self.neighbours.follow(self.messages) => Err(error.into()),
            () = self.feedback.receive() => Ok(()),
            () = self.sweep.run(self.losses) => Ok(()),
            () = self.gates.keep() => Ok(()),
            () = self.settings.keep(self.handle, name.clone(), self.server_interface) => Ok(()),
            () = control_socket.serve(Arc::new(self.status)) => Ok(()),
        };
        slow_path.stop();
        result
    }
}

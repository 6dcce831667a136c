//! The agent beside a server's software. [`run`] checks the host, brings up the TC programs and measures and reports what the
//! server does until it is told to stop.

mod alarm;
mod classes;
mod drift;
mod flows;
mod host;
mod listener;
mod meter;
mod preflight;
mod program;
mod reporter;
mod settings;
mod status;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use aya::maps::MapError;
use dispatcher_core::{config::BackConfig, report::Report, secret::Secret};
use thiserror::Error;

use self::{
    alarm::Alarm,
    flows::{Census, Flows},
    host::HostError,
    preflight::PreflightError,
    program::{Maps, Program},
    reporter::Reporter,
    settings::SettingsTable,
    status::Status,
};
use crate::{
    control_socket::{ControlSocket, ControlSocketError},
    kernel::{btf::BtfError, kfunc::KfuncError, object::LoadError, pin::PinError},
    stop,
};

/// The agent cannot start or go on.
#[derive(Debug, Error)]
pub enum BackError {
    /// For the operator: the host is not ready.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// For the operator.
    #[error(transparent)]
    ControlSocket(#[from] ControlSocketError),
    /// For the operator: the kernel is too old.
    #[error(transparent)]
    Kfunc(#[from] KfuncError),
    /// For the operator: the kernel was built without what we need.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// For the operator, mostly: rights, pins, interface.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// For the operator.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// From the kernel, unexpected.
    #[error(transparent)]
    Host(#[from] HostError),
    /// From the kernel, unexpected.
    #[error("cannot use a map of the server's programs: {0}; remove the pin path and start again")]
    Map(#[from] MapError),
    /// From the kernel, unexpected.
    #[error("cannot start the agent: {0}; check the limits on processes and open files")]
    System(#[from] io::Error),
}

/// A value that one task of the agent writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Shared<T> {
    fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// Runs an agent until SIGTERM or SIGINT, then detaches its programs and removes its pins: connections that are open go on,
/// but no further ones are accepted, and the front-ends will take the next start for a boot.
///
/// # Errors
/// When it cannot start: then nothing is left, or, if an earlier agent was killed, what that one left.
pub fn run(config: &BackConfig, secret: &Secret) -> Result<(), BackError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stop::signalled()?;
        preflight::check(config)?;
        let control_socket = ControlSocket::bind(&config.control_socket)?;
        let mut program = Program::load(config)?;
        match start(config, secret, &mut program) {
            Ok(agent) => agent.serve(control_socket, stopped).await,
            Err(error) => {
                program.give_up();
                return Err(error);
            }
        }
        program.remove()?;
        tracing::info!("detached from {}", config.interface);
        Ok(())
    })
}

/// An agent at work, in its parts.
struct Agent {
    reporter: Reporter,
    flows: Flows,
    settings: SettingsTable,
    alarm: Alarm,
    status: Status,
}

fn start(config: &BackConfig, secret: &Secret, program: &mut Program) -> Result<Agent, BackError> {
    let took_over = program.is_reused();
    let Maps { settings, services, counters, classes, flows, held, mut boot } = program.take_maps()?;
    program::replace_services(services, config)?;
    let settings = SettingsTable::new(settings, secret, program.offsets())?;
    let boot_id = program::boot_id(&mut boot)?;
    let (census, report) = (Shared::<Census>::default(), Shared::<Option<Report>>::default());
    let counters = Arc::new(counters);
    let reporter = Reporter::new(
        config,
        secret.report_key(),
        boot_id,
        (Arc::clone(&counters), classes.clone()),
        (census.clone(), report.clone()),
    )?;
    program.attach(config)?;
    announce(config, took_over);
    Ok(Agent {
        reporter,
        flows: Flows::new(flows.clone(), classes, held, census),
        settings,
        alarm: Alarm::new(Arc::clone(&counters)),
        status: Status::new(config, report, counters, flows),
    })
}

fn announce(config: &BackConfig, took_over: bool) {
    if took_over {
        tracing::info!("took over the flows below {}", config.pin_path.display());
    }
    let services: Vec<_> = config
        .services
        .iter()
        .flat_map(|service| {
            service.vips.iter().map(|vip| std::net::SocketAddr::new(*vip, service.port).to_string())
        })
        .collect();
    tracing::info!("{} accepts flows for {} on {}", config.name, services.join(", "), config.interface);
}

impl Agent {
    /// Serves until `stopped` completes.
    async fn serve(self, control_socket: ControlSocket, stopped: impl Future<Output = ()>) {
        tokio::select! {
            () = stopped => {}
            () = self.reporter.run() => {}
            () = self.flows.run() => {}
            () = self.settings.keep() => {}
            () = self.alarm.run() => {}
            () = control_socket.serve(Arc::new(self.status)) => {}
        }
    }
}

//! An eBPF object in the kernel: its maps pinned, its programs verified, attached and removed again. Both roles load theirs
//! through here; what the maps hold is their business.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use thiserror::Error;

use super::{
    attach::{self, AttachError, Hook},
    pin::{PinError, PinnedSet},
    table::Table,
};

/// An object cannot be brought into the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// For the operator.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// From the kernel.
    #[error("kernel refuses the eBPF maps: {0}; run as root on Linux 6.9 or newer")]
    Maps(#[from] EbpfError),
    /// From the kernel.
    #[error("kernel refuses program {name}: {}; run as root on Linux 6.9 or newer", reason(.source))]
    Program {
        name: &'static str,
        #[source]
        source: ProgramError,
    },
    /// From the kernel, unexpected.
    #[error("map {name} cannot be used: {source}; remove the pin path and start again")]
    Map {
        name: &'static str,
        #[source]
        source: MapError,
    },
    /// From the kernel, unexpected.
    #[error("kernel does not say how many CPUs it may have: {0}; is /sys mounted?")]
    Cpus(#[source] io::Error),
    /// For the operator, mostly: the interface.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Of this binary.
    #[error("eBPF object lacks {0}; build the dispatcher again")]
    Lacking(&'static str),
}

/// The error without the verifier's log, which has thousands of lines.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => format!("{io_error} (-v shows the verifier's log)"),
        other => other.to_string(),
    }
}

/// A loaded object.
pub struct LoadedObject {
    ebpf: Ebpf,
    pins: PinnedSet,
}

impl fmt::Debug for LoadedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedObject").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl LoadedObject {
    /// Creates or opens the maps below the pin path, of which some get other sizes than the object has, and has the kernel
    /// verify the programs. They see no packet before [`attach`](Self::attach).
    ///
    /// # Errors
    /// When the pin path is taken, or the kernel refuses; nothing new is left then.
    pub fn load(
        object: &[u8],
        pin_path: &Path,
        sizes: &[(&str, u32)],
        programs: &[&'static str],
    ) -> Result<Self, LoadError> {
        let pins = PinnedSet::open(pin_path, object, sizes)?;
        match load(object, &pins, programs) {
            Ok(ebpf) => Ok(Self { ebpf, pins }),
            Err(error) => {
                if !pins.is_reused()
                    && let Err(error) = pins.remove()
                {
                    tracing::warn!("cannot clean up: {error}");
                }
                Err(error)
            }
        }
    }

    /// The pinned set of maps.
    #[must_use]
    pub fn pins(&self) -> &PinnedSet {
        &self.pins
    }

    fn take(&mut self, name: &'static str) -> Result<Map, LoadError> {
        self.ebpf.take_map(name).ok_or(LoadError::Lacking(name))
    }

    /// A map in its type, once.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn typed<T: TryFrom<Map, Error = MapError>>(&mut self, name: &'static str) -> Result<T, LoadError> {
        T::try_from(self.take(name)?).map_err(|source| LoadError::Map { name, source })
    }

    /// An array map by its descriptor, once: for whoever maps it into memory.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn descriptor(&mut self, name: &'static str) -> Result<OwnedFd, LoadError> {
        self.table_by(name, |fd| fd.try_clone_to_owned())
    }

    /// A hash map as a table, once.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn table<K: Pod + Default, V: Pod + Default>(
        &mut self,
        name: &'static str,
    ) -> Result<Table<K, V>, LoadError> {
        self.table_by(name, Table::from_borrowed)
    }

    /// A per-CPU array as a table, once.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn per_cpu_table<K: Pod + Default, V: Pod + Default>(
        &mut self,
        name: &'static str,
    ) -> Result<Table<K, V>, LoadError> {
        self.table_by(name, Table::per_cpu)
    }

    fn table_by<T>(
        &mut self,
        name: &'static str,
        make: fn(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T, LoadError> {
        let map = self.take(name)?;
        let data = data(&map).ok_or(LoadError::Lacking(name))?;
        make(data.fd().as_fd()).map_err(|source| LoadError::Map { name, source: MapError::IoError(source) })
    }

    /// Attaches a program to an interface, or puts it in place of an older one.
    ///
    /// # Errors
    /// When the interface does not take it.
    pub fn attach(&mut self, name: &'static str, interface: &str, hook: Hook) -> Result<(), LoadError> {
        let links = self.pins.links();
        Ok(attach::attach(self.descriptor_of(name)?, interface, hook, &links)?)
    }

    /// Attaches a program to the events of all sockets, or puts it in place of an older one.
    ///
    /// # Errors
    /// When the host's cgroups do not take it.
    pub fn attach_to_sockets(&mut self, name: &'static str) -> Result<(), LoadError> {
        let links = self.pins.links();
        Ok(attach::attach_to_sockets(self.descriptor_of(name)?, &links)?)
    }

    /// A loaded program.
    fn descriptor_of(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        let program = self.ebpf.program(name).ok_or(LoadError::Lacking(name))?;
        let fd = program.fd().map_err(|source| LoadError::Program { name, source })?;
        Ok(fd.as_fd())
    }

    /// Detaches the programs and removes all pins.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<(), PinError> {
        self.pins.remove()
    }

    /// What to do after a start that failed half-way: removes everything, unless an earlier process left it.
    pub fn give_up(self) {
        if self.pins.is_reused() {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!("cannot clean up: {error}");
        }
    }
}

fn load(object: &[u8], pins: &PinnedSet, programs: &[&'static str]) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    pins.configure(&mut loader);
    let mut ebpf = loader.load(object)?;
    pins.seal(&mut ebpf)?;
    for name in programs {
        let verified = match ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => program.load(),
            Some(Program::SchedClassifier(program)) => program.load(),
            Some(Program::SockOps(program)) => program.load(),
            _ => return Err(LoadError::Lacking(name)),
        };
        verified.map_err(|source| {
            tracing::debug!("{source}");
            LoadError::Program { name, source }
        })?;
    }
    Ok(ebpf)
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) | Map::Array(data) | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

//! The pinned maps of a role: an existing set is taken over if this binary understands it, else refused; without one a fresh
//! set is made. Links are pinned beside them, see [`super::attach`].
//!
//! Below the pin path are `maps/NAME` and `links/NAME`. The ABI map is written last: a set without its version is the rest of
//! a start that did not finish, and is removed.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapError, MapInfo},
};
use aya_obj::{EbpfSectionKind, Object, generated::bpf_map_type};
use dispatcher_common::limits::ABI_VERSION;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use thiserror::Error;

use super::{
    attach::{self, AttachError},
    bpffs::{self, BpffsError},
};

/// Name of the one-slot map that holds the version.
const ABI_MAP: &str = "ABI";

/// The pinned set cannot be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// For the operator: another dispatcher runs.
    #[error("another dispatcher runs with pin path {}; stop it, or give this one a pin_path of its own", .0.display())]
    InUse(PathBuf),
    /// For the operator: the pins are another release's.
    #[error("pinned maps of {}: ABI {found}, this binary has {ABI_VERSION}; stop the old dispatcher cleanly (SIGTERM) or remove the directory", .path.display())]
    OtherAbi { path: PathBuf, found: u32 },
    /// For the operator: the configuration has changed.
    #[error("pinned maps of {}: {map} has {what} {found}, wanted {wanted}; restore the setting or remove the directory", .path.display())]
    OtherShape { path: PathBuf, map: String, what: &'static str, found: u32, wanted: u32 },
    /// For the operator: where to pin.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// For the operator.
    #[error("cannot use pin path {}: {source}; run as root, or remove the directory", .path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// For the operator.
    #[error(transparent)]
    Links(#[from] AttachError),
    /// From the kernel, unexpected.
    #[error("cannot use pinned map {}: {source}; remove the pin path", .pin.display())]
    Map {
        pin: PathBuf,
        #[source]
        source: MapError,
    },
    /// Of this binary: its eBPF object is broken.
    #[error("eBPF object cannot be read: {0}; build the dispatcher again")]
    Object(String),
}

/// What a map of the object looks like.
#[derive(Debug)]
struct Shape {
    name: String,
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The maps of one role, pinned below its pin path, which this process holds alone.
#[derive(Debug)]
pub struct PinnedSet {
    path: PathBuf,
    /// The pin path's directory: the lock is on it and ends with the process.
    _lock: Flock<File>,
    shapes: Vec<Shape>,
    reused: bool,
}

impl PinnedSet {
    /// Locks the pin path, making it if need be, and decides whether the maps pinned there can go on. `sizes` gives maps
    /// other numbers of entries than the object has.
    ///
    /// # Errors
    /// When another process holds the pin path, or a set is there that this binary must not touch.
    pub fn open(pin_path: &Path, object: &[u8], sizes: &[(&str, u32)]) -> Result<Self, PinError> {
        let shapes = shapes(object, sizes)?;
        let lock = lock(pin_path)?;
        let mut set = Self { path: pin_path.to_path_buf(), _lock: lock, shapes, reused: false };
        match set.version()? {
            None | Some(0) => set.start_afresh()?,
            Some(ABI_VERSION) => {
                set.check_shapes()?;
                set.reused = true;
            }
            Some(found) => return Err(PinError::OtherAbi { path: set.path, found }),
        }
        Ok(set)
    }

    /// Makes the loader use this set: it opens what is pinned and pins what it creates.
    pub fn configure<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        let maps = self.maps();
        for shape in &self.shapes {
            loader.map_max_entries(&shape.name, shape.max_entries);
            loader.map_pin_path(&shape.name, maps.join(&shape.name));
        }
    }

    /// Marks the set as complete, after the loader made it.
    ///
    /// # Errors
    /// When the object has no map for the version.
    pub fn seal(&self, ebpf: &mut Ebpf) -> Result<(), PinError> {
        let map = ebpf.map_mut(ABI_MAP).ok_or_else(|| PinError::Object("it has no ABI map".into()))?;
        Array::<_, u32>::try_from(map)
            .and_then(|mut array| array.set(0, ABI_VERSION, 0))
            .map_err(|source| PinError::Map { pin: self.maps().join(ABI_MAP), source })
    }

    /// Whether the maps hold what an earlier process left.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Pin of a map that user space alone uses, in this set.
    #[must_use]
    pub fn own_map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Directory for the pins of links.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// Removes all pins and the pin path. Maps go when nothing uses them any more.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<(), PinError> {
        attach::remove_links(&self.links())?;
        remove_directory(&self.maps())
            .and_then(|()| fs::remove_dir(&self.path))
            .map_err(|source| PinError::Directory { path: self.path.clone(), source })
    }

    fn maps(&self) -> PathBuf {
        self.path.join("maps")
    }

    /// Version of the pinned set; `None` when there is no set, 0 when it is not complete.
    fn version(&self) -> Result<Option<u32>, PinError> {
        let pin = self.maps().join(ABI_MAP);
        if !pin.exists() {
            return Ok(None);
        }
        let read = || -> Result<u32, MapError> {
            Array::<_, u32>::try_from(Map::Array(MapData::from_pin(&pin)?))?.get(&0, 0)
        };
        read().map(Some).map_err(|source| PinError::Map { pin: pin.clone(), source })
    }

    fn start_afresh(&self) -> Result<(), PinError> {
        attach::remove_links(&self.links())?;
        remove_directory(&self.maps())
            .and_then(|()| fs::create_dir(self.maps()))
            .map_err(|source| PinError::Directory { path: self.path.clone(), source })
    }

    fn check_shapes(&self) -> Result<(), PinError> {
        for shape in &self.shapes {
            let pin = self.maps().join(&shape.name);
            let info = MapInfo::from_pin(&pin).map_err(|source| PinError::Map { pin, source })?;
            let compared = [
                ("key size", info.key_size(), shape.key_size),
                ("value size", info.value_size(), shape.value_size),
                ("max_entries", info.max_entries(), shape.max_entries),
            ];
            // The loader adjusts the value size of device maps to the kernel.
            let adjusted = [bpf_map_type::BPF_MAP_TYPE_DEVMAP, bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH]
                .iter()
                .any(|kind| *kind as u32 == shape.map_type);
            for (what, found, wanted) in compared {
                if found != wanted && !(adjusted && what == "value size") {
                    let (path, map) = (self.path.clone(), shape.name.clone());
                    return Err(PinError::OtherShape { path, map, what, found, wanted });
                }
            }
        }
        Ok(())
    }
}

/// Makes the directory and locks it. Its last holder may remove it between the two: then try again.
fn lock(pin_path: &Path) -> Result<Flock<File>, PinError> {
    let failed = |source| PinError::Directory { path: pin_path.to_path_buf(), source };
    loop {
        bpffs::ensure(pin_path)?;
        let directory = match File::open(pin_path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let lock = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(PinError::InUse(pin_path.to_path_buf())),
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        if pin_path.exists() {
            return Ok(lock);
        }
    }
}

/// Removes a directory of pins, if there is one.
fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The object's own maps, without the compiler's data sections, which belong to one program only.
fn shapes(object: &[u8], sizes: &[(&str, u32)]) -> Result<Vec<Shape>, PinError> {
    let object = Object::parse(object).map_err(|error| PinError::Object(error.to_string()))?;
    let is_data =
        |kind| matches!(kind, EbpfSectionKind::Bss | EbpfSectionKind::Data | EbpfSectionKind::Rodata);
    let mut shapes: Vec<_> = object
        .maps
        .iter()
        .filter(|(_, map)| !is_data(map.section_kind()))
        .map(|(name, map)| Shape {
            name: name.clone(),
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: size_of_map(name, sizes).unwrap_or(map.max_entries()),
        })
        .collect();
    shapes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(shapes)
}

fn size_of_map(name: &str, sizes: &[(&str, u32)]) -> Option<u32> {
    sizes.iter().find(|(map, _)| *map == name).map(|(_, size)| *size)
}

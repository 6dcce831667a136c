//! The BPF file system that pins live on. Mounts it at its usual place when the pin path is below that place and nothing is
//! mounted there yet: minimal systems and `ip netns exec`, which mounts a new /sys, have none.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use thiserror::Error;

/// Where every distribution mounts it.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// A pin path cannot be used.
#[derive(Debug, Error)]
pub enum BpffsError {
    /// For the operator: the path is elsewhere.
    #[error("pin path {} is not on a BPF file system; use one below {MOUNT_POINT}", .0.display())]
    Elsewhere(PathBuf),
    /// For the operator: rights or kernel.
    #[error(
        "cannot mount the BPF file system at {MOUNT_POINT}: {0}; run as root, or run: mount -t bpf bpf {MOUNT_POINT}"
    )]
    Mount(Errno),
    /// For the operator.
    #[error("cannot create pin path {}: {source}; run as root, or choose another pin_path", .path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Creates the directory `pin_path` on a BPF file system, which it mounts if need be.
///
/// # Errors
/// When the path is on another file system, or the rights are missing.
pub fn ensure(pin_path: &Path) -> Result<(), BpffsError> {
    if !is_bpffs(pin_path) {
        if !pin_path.starts_with(MOUNT_POINT) {
            return Err(BpffsError::Elsewhere(pin_path.to_path_buf()));
        }
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(BpffsError::Mount)?;
        tracing::info!("mounted the BPF file system at {MOUNT_POINT}");
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(pin_path)
        .map_err(|source| BpffsError::Create { path: pin_path.to_path_buf(), source })
}

/// Whether the nearest existing ancestor of a path is on a BPF file system.
fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(|ancestor| statfs(ancestor).ok())
        .is_some_and(|status| status.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_on_another_file_system_is_refused() {
        let refused = ensure(Path::new("/proc/self/dispatcher")).unwrap_err().to_string();
        assert_eq!(
            refused,
            "pin path /proc/self/dispatcher is not on a BPF file system; use one below /sys/fs/bpf"
        );
    }
}

//! The cgroup whose sockets are all of the host's: where the hierarchy of version 2 is mounted.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

const MOUNTS: &str = "/proc/self/mounts";

/// There is no such cgroup to be had.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// From the kernel, unexpected.
    #[error("cannot read {MOUNTS}: {0}; is /proc mounted?")]
    Mounts(#[source] io::Error),
    /// For the operator.
    #[error("no cgroup hierarchy of version 2 is mounted; run: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    Absent,
    /// For the operator: rights.
    #[error("cannot open cgroup {}: {source}; run as root", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Opens the root of the hierarchy, as far up as this process sees it.
///
/// # Errors
/// When none is mounted, or rights lack.
pub fn open_root() -> Result<File, CgroupError> {
    let mounts = fs::read_to_string(MOUNTS).map_err(CgroupError::Mounts)?;
    let path = mount_point(&mounts).ok_or(CgroupError::Absent)?;
    File::open(path).map_err(|source| CgroupError::Unreadable { path: path.to_path_buf(), source })
}

/// The first mount of its type in a list such as `proc_pid_mounts(5)` describes. Nobody mounts it where spaces would be escaped.
fn mount_point(mounts: &str) -> Option<&Path> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| Path::new(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_2_is_found_beside_others() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(mount_point(hybrid), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("cgroup2 /a tmpfs rw 0 0\ncgroup /b cgroup rw 0 0\n\n"), None);
    }

    #[test]
    fn without_one_the_message_says_how_to_mount_it() {
        assert!(CgroupError::Absent.to_string().contains("mount -t cgroup2 "));
    }
}

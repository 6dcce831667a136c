//! Attaches XDP and TC programs to interfaces, and such for the events of sockets to a cgroup, by links that are pinned, so that they
//! outlive the process. A later process opens the pinned link and replaces its program in one step: packets meet the old program
//! or the new, never none.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, bpf_attach_type};
use thiserror::Error;

use super::{
    cgroup::{self, CgroupError},
    link::{Link, Target},
};

/// Where in an interface's path a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP after the driver made a socket buffer: for drivers without XDP; slower.
    XdpSkb,
    /// TC, packets from the wire; last of the programs there.
    Ingress,
    /// TC, packets to the wire; last of the programs there.
    Egress,
}

impl Hook {
    /// Name of the pin. The mode is part of it because a link keeps its mode.
    fn pin_name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpSkb => "xdp-skb",
            Self::Ingress => "tcx-ingress",
            Self::Egress => "tcx-egress",
        }
    }

    /// The hook that cannot be used on the same interface at the same time.
    fn rival(self) -> Option<Self> {
        match self {
            Self::XdpNative => Some(Self::XdpSkb),
            Self::XdpSkb => Some(Self::XdpNative),
            Self::Ingress | Self::Egress => None,
        }
    }

    fn is_xdp(self) -> bool {
        self.rival().is_some()
    }

    fn target(self, interface: u32) -> Target {
        let (attach_type, flags) = match self {
            Self::XdpNative => (bpf_attach_type::BPF_XDP, XDP_FLAGS_DRV_MODE),
            Self::XdpSkb => (bpf_attach_type::BPF_XDP, XDP_FLAGS_SKB_MODE),
            Self::Ingress => (bpf_attach_type::BPF_TCX_INGRESS, 0),
            Self::Egress => (bpf_attach_type::BPF_TCX_EGRESS, 0),
        };
        Target { object: interface, attach_type: attach_type as u32, flags }
    }
}

/// A program cannot be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// For the operator: the configuration names a wrong interface.
    #[error("interface {0} does not exist; see `ip link` for those that do")]
    NoInterface(String),
    /// For the operator: the driver.
    #[error("cannot attach to {0}: driver lacks native XDP; retry with --mode skb")]
    NoNativeXdp(String),
    /// For the operator: the driver takes no XDP at this MTU.
    #[error(
        "cannot attach to {0}: its MTU, or its peer's, is too large for native XDP; lower it or retry with --mode skb"
    )]
    MtuTooLarge(String),
    /// For the operator: somebody else's program.
    #[error(
        "cannot attach to {0}: another XDP program is attached; look with `ip link show dev {0}` and remove it"
    )]
    Occupied(String),
    /// For the operator: rights.
    #[error("cannot attach to {0}: not permitted; run as root or with CAP_NET_ADMIN and CAP_BPF")]
    NotPermitted(String),
    /// From the kernel, unexpected.
    #[error("cannot attach to {interface} at {hook}: {source}; see `dmesg` for the driver's reason")]
    Refused {
        interface: String,
        hook: &'static str,
        #[source]
        source: io::Error,
    },
    /// For the operator.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// For the operator: somebody else's program, or rights.
    #[error(
        "cannot attach to the sockets of the root cgroup: {0}; if a program is there that allows no other beside it, as \
         `bpftool cgroup tree` tells, it has to go"
    )]
    SocketsRefused(#[source] io::Error),
    /// From the kernel, unexpected.
    #[error("cannot use link pin {}: {source}; stop the dispatcher there or remove it", .pin.display())]
    Pin {
        pin: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Number of the interface with this name.
fn interface_index(interface: &str) -> Result<u32, AttachError> {
    nix::net::if_::if_nametoindex(interface).map_err(|_| AttachError::NoInterface(interface.to_owned()))
}

/// Attaches a loaded program to an interface, or takes over the link that an earlier process pinned in the directory
/// `links`. It stays attached, also beyond the end of this process, until [`remove_links`].
///
/// # Errors
/// When the interface is missing, does not support the hook, or is taken.
pub fn attach(program: BorrowedFd<'_>, interface: &str, hook: Hook, links: &Path) -> Result<(), AttachError> {
    let index = interface_index(interface)?;
    let pin_of = |hook: Hook| links.join(format!("{interface}-{}", hook.pin_name()));
    let pin = pin_of(hook);
    let pin_error = |source| AttachError::Pin { pin: pin.clone(), source };
    fs::create_dir_all(links).map_err(pin_error)?;
    if let Some(rival) = hook.rival() {
        remove(&pin_of(rival)).map_err(pin_error)?;
    }
    let is_there = |link: &Link| Ok(link.interface()? == index);
    if take_over(program, &pin, is_there).map_err(pin_error)? {
        return Ok(());
    }
    let link = Link::create(program, hook.target(index)).map_err(|error| refused(interface, hook, error))?;
    link.pin(&pin).map_err(pin_error)
}

/// Name of the pin of a link to the sockets of a cgroup.
const SOCKETS: &str = "sockets";

/// Attaches a loaded program to the sockets of all processes, or takes over the link that an earlier process pinned in the
/// directory `links`, as [`attach`] does.
///
/// # Errors
/// When the hierarchy of cgroups is not mounted, or refuses the program.
pub fn attach_to_sockets(program: BorrowedFd<'_>, links: &Path) -> Result<(), AttachError> {
    let root = cgroup::open_root()?;
    let pin = links.join(SOCKETS);
    let pin_error = |source| AttachError::Pin { pin: pin.clone(), source };
    fs::create_dir_all(links).map_err(pin_error)?;
    if take_over(program, &pin, |_| Ok(true)).map_err(pin_error)? {
        return Ok(());
    }
    // Descriptors of open files are never negative.
    let object = root.as_raw_fd() as u32;
    let attach_type = bpf_attach_type::BPF_CGROUP_SOCK_OPS as u32;
    let link = Link::create(program, Target { object, attach_type, flags: 0 });
    link.map_err(AttachError::SocketsRefused)?.pin(&pin).map_err(pin_error)
}

/// Puts the program into a pinned link. False when there is no such link or what it is attached to is gone; then the pin is, too.
fn take_over(
    program: BorrowedFd<'_>,
    pin: &Path,
    is_there: impl FnOnce(&Link) -> io::Result<bool>,
) -> io::Result<bool> {
    let link = match Link::open(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if is_there(&link)? && link.update(program).is_ok() {
        return Ok(true);
    }
    detach(&link, pin)?;
    Ok(false)
}

/// Detaches whatever is pinned there.
fn remove(pin: &Path) -> io::Result<()> {
    match Link::open(pin) {
        Ok(link) => detach(&link, pin),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn detach(link: &Link, pin: &Path) -> io::Result<()> {
    // Fails when the interface is gone already; the descriptor's end detaches as well, only later.
    let _ = link.detach();
    fs::remove_file(pin)
}

/// Detaches every link that is pinned in the directory and removes it; for the pins of a process that did not stop cleanly.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove_links(links: &Path) -> Result<(), AttachError> {
    let pin_error = |source| AttachError::Pin { pin: links.to_path_buf(), source };
    let entries = match fs::read_dir(links) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(pin_error(error)),
    };
    for entry in entries {
        remove(&entry.map_err(pin_error)?.path()).map_err(pin_error)?;
    }
    fs::remove_dir(links).map_err(pin_error)
}

fn refused(interface: &str, hook: Hook, source: io::Error) -> AttachError {
    let name = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::ENODEV) => AttachError::NoInterface(name),
        Some(libc::EPERM) => AttachError::NotPermitted(name),
        // EEXIST: a program is attached in the other mode.
        Some(libc::EBUSY | libc::EEXIST) if hook.is_xdp() => AttachError::Occupied(name),
        // EINVAL: drivers that have native XDP but not in the interface's present state (LRO, too few queues).
        Some(libc::EOPNOTSUPP | libc::EINVAL) if hook == Hook::XdpNative => AttachError::NoNativeXdp(name),
        Some(libc::ERANGE | libc::EMSGSIZE) if hook == Hook::XdpNative => AttachError::MtuTooLarge(name),
        _ => AttachError::Refused { interface: name, hook: hook.pin_name(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_of_the_driver_says_what_to_do() {
        for (errno, hook, expected) in [
            (libc::EOPNOTSUPP, Hook::XdpNative, "driver lacks native XDP; retry with --mode skb"),
            (libc::EINVAL, Hook::XdpNative, "driver lacks native XDP; retry with --mode skb"),
            (libc::EBUSY, Hook::XdpSkb, "look with `ip link show dev eth1`"),
            (libc::EEXIST, Hook::XdpNative, "another XDP program is attached"),
            (libc::ERANGE, Hook::XdpNative, "MTU"),
            (libc::EOPNOTSUPP, Hook::Ingress, "cannot attach to eth1 at tcx-ingress"),
            (libc::EPERM, Hook::Egress, "run as root"),
        ] {
            let text = refused("eth1", hook, io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let text = interface_index("no-such-if").unwrap_err().to_string();
        assert_eq!(text, "interface no-such-if does not exist; see `ip link` for those that do");
    }
}

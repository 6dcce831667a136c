//! BPF links by their system calls: aya gives no way to ask a pinned link for its interface or to detach it at once, and its
//! XDP attachment falls back to netlink, whose attachments cannot be pinned.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

/// An attached program; it stays attached while the descriptor is open or the link is pinned.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What a link is attached to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Interface number, or descriptor of a cgroup.
    pub object: u32,
    /// One of the kernel's `bpf_attach_type`.
    pub attach_type: u32,
    /// Further `XDP_FLAGS_…`.
    pub flags: u32,
}

impl Link {
    /// Attaches a program.
    pub(super) fn create(program: BorrowedFd<'_>, target: Target) -> io::Result<Self> {
        let mut attr = empty();
        attr.link_create.__bindgen_anon_1.prog_fd = number(program.as_raw_fd());
        attr.link_create.__bindgen_anon_2.target_ifindex = target.object;
        attr.link_create.attach_type = target.attach_type;
        attr.link_create.flags = target.flags;
        descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    }

    /// Opens a pinned link.
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let mut attr = empty();
        attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
        descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr)
    }

    pub(super) fn pin(&self, pin: &Path) -> io::Result<()> {
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let mut attr = empty();
        attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
        attr.__bindgen_anon_4.bpf_fd = number(self.0.as_raw_fd());
        call(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
    }

    /// Replaces the program; no packet meets neither of the two.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr = empty();
        attr.link_update.link_fd = number(self.0.as_raw_fd());
        attr.link_update.__bindgen_anon_1.new_prog_fd = number(program.as_raw_fd());
        call(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
    }

    /// Detaches the program now, whoever else still holds the link.
    pub(super) fn detach(&self) -> io::Result<()> {
        let mut attr = empty();
        attr.link_detach.link_fd = number(self.0.as_raw_fd());
        call(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
    }

    /// The interface number of an XDP or TCX link; 0 when the interface is gone, or for a link of another type.
    pub(super) fn interface(&self) -> io::Result<u32> {
        // SAFETY: integers and unions of integers, for which zeroes are values.
        let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
        let mut attr = empty();
        attr.info.bpf_fd = number(self.0.as_raw_fd());
        attr.info.info_len = size_of::<bpf_link_info>() as u32;
        attr.info.info = (&raw mut info) as u64;
        call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
        let known = |kind: bpf_link_type| info.type_ == kind as u32;
        // SAFETY: the type tells which member the kernel wrote; all members are integers.
        unsafe {
            if known(bpf_link_type::BPF_LINK_TYPE_XDP) {
                Ok(info.__bindgen_anon_1.xdp.ifindex)
            } else if known(bpf_link_type::BPF_LINK_TYPE_TCX) {
                Ok(info.__bindgen_anon_1.tcx.ifindex)
            } else {
                Ok(0)
            }
        }
    }
}

fn empty() -> bpf_attr {
    // SAFETY: integers and unions of integers, for which zeroes are values; the kernel wants unused bytes to be zero.
    unsafe { std::mem::zeroed() }
}

// Descriptors of open files are never negative.
fn number(fd: i32) -> u32 {
    fd as u32
}

fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<Link> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else owns it.
    Ok(Link(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attribute is as long as we say, and all pointers in it are to values that outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

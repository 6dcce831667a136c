//! Small programs written by hand, above all an XDP program of two instructions that passes everything. A frame that the front-end sends by `XDP_TX` leaves
//! its veth only if the *peer* has an XDP program of its own; on the rig's switch that is this one. A real
//! switch needs nothing of the kind.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use crate::host::Host;

const BPFFS: &str = "/sys/fs/bpf";
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;

/// What a program is for (`enum bpf_prog_type`).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    TrafficControl = 3,
    Xdp = 6,
}

/// `r0 = XDP_PASS; exit`, in the kernel's encoding: operation, registers, offset and constant from the low end.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct PinAttributes {
    path: u64,
    program: u32,
    flags: u32,
}

/// Mounts bpffs where everybody looks for it, unless it is there.
pub(crate) fn mount_bpffs() -> Result<()> {
    let mounted = statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if mounted {
        return Ok(());
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("cannot mount bpffs on {BPFFS}: are you root?"))
}

/// Attaches the passing program to `port` of `switch`. It stays until the port goes, also after this process.
pub(crate) fn attach(switch: &Host, port: &str, pin: &Path) -> Result<()> {
    attach_program(switch, port, pin, &PASS)
}

/// Attaches any program in native mode; `pin` is a path in bpffs that is free, and free again afterwards.
pub(crate) fn attach_program(host: &Host, port: &str, pin: &Path, instructions: &[u64]) -> Result<()> {
    let program = load(Kind::Xdp, instructions).with_context(|| {
        format!("cannot load an XDP program for {}: does the kernel have eBPF?", host.name())
    })?;
    pin_program(&program, pin).with_context(|| format!("cannot pin a program at {}", pin.display()))?;
    let attached = host.run(&format!("ip link set dev {port} xdpdrv pinned {}", pin.display()));
    fs::remove_file(pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    attached.map(drop)
}

pub(crate) fn load(kind: Kind, instructions: &[u64]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: kind as u32,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        licence: c"Dual MIT/GPL".as_ptr() as u64,
        name: *b"rig_pass\0\0\0\0\0\0\0\0",
        ..LoadAttributes::default()
    };
    own(bpf(BPF_PROG_LOAD, &attributes)?)
}

/// A descriptor that the kernel has just given us.
pub(crate) fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One instruction: operation, registers, offset and constant.
pub(crate) const fn instruction(code: u64, to: u64, from: u64, offset: usize, constant: u32) -> u64 {
    code | to << 8 | from << 12 | (offset as u64) << 16 | (constant as u64) << 32
}

fn pin_program(program: &OwnedFd, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_encoded_bytes())?;
    let program = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_OBJ_PIN, &PinAttributes { path: path.as_ptr() as u64, program, flags: 0 }).map(drop)
}

pub(crate) fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a `repr(C)` prefix of `union bpf_attr`, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

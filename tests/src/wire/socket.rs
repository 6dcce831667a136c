//! A packet socket on an interface of a host: whole frames out and in. Every frame is preceded by the kernel's
//! virtio-net header, which tells of offloads: whether a checksum is missing and what a packet too large will be cut to.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::frame::{Received, parse};
use crate::host::Host;

/// Length of `struct virtio_net_hdr`.
const HEADER_LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;

const LARGEST_FRAME: usize = HEADER_LEN + 14 + 65_536;

const RECEIVE_BUFFER: libc::c_int = 16 << 20;

/// The socket.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl PacketSocket {
    /// Opens the socket on `interface` of `host`.
    ///
    /// # Errors
    /// If there is no such interface or the caller is not root.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        Self::with_protocol(host, interface, libc::ETH_P_ALL)
    }

    /// As `open`, but the socket receives nothing: for floods.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_for_sending(host: &Host, interface: &str) -> Result<Self> {
        Self::with_protocol(host, interface, 0)
    }

    fn with_protocol(host: &Host, interface: &str, protocol: libc::c_int) -> Result<Self> {
        let fd = host
            .enter(|| open(interface, protocol))?
            .with_context(|| format!("cannot open a packet socket on {interface} of {}", host.name()))?;
        Ok(Self { fd, buffer: vec![0; LARGEST_FRAME] })
    }

    /// Gives all frames that are sent this mark, for programs on the interface.
    ///
    /// # Errors
    /// If the caller is not root.
    pub fn mark(&self, mark: u32) -> Result<()> {
        set(&self.fd, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// If the interface is down or the frame too long for it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.send_all([frame])
    }

    /// Sends frames in one system call, so that they arrive together.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_all<'a>(&self, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let mut header = [0_u8; HEADER_LEN];
        let mut parts: Vec<[libc::iovec; 2]> = frames
            .into_iter()
            .map(|frame| {
                [part(header.as_mut_ptr(), HEADER_LEN), part(frame.as_ptr().cast_mut(), frame.len())]
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|pair| {
                // SAFETY: all-zero is a valid mmsghdr.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = pair.as_mut_ptr();
                message.msg_hdr.msg_iovlen = 2;
                message
            })
            .collect();
        let mut done = 0;
        while done < messages.len() {
            let rest = &mut messages[done..];
            let count = u32::try_from(rest.len())?;
            // SAFETY: `rest` points to frames, parts and a header that live through the call; the kernel only reads them.
            let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            match usize::try_from(sent) {
                Ok(sent) => done += sent,
                Err(_) => retry_or(io::Error::last_os_error())?,
            }
        }
        Ok(())
    }

    /// The next TCP segment before `deadline`, whoever it is for; `None` when time is up.
    ///
    /// # Errors
    /// If the interface has gone.
    pub fn receive(&mut self, deadline: Instant) -> Result<Option<Received>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.wait(left)? {
                return Ok(None);
            }
            // SAFETY: the buffer is writable for its whole length.
            let length = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            let Ok(length) = usize::try_from(length) else {
                retry_or(io::Error::last_os_error())?;
                continue;
            };
            let Some((header, frame)) = self.buffer[..length].split_at_checked(HEADER_LEN) else { continue };
            let segment_size = u16::from_ne_bytes([header[4], header[5]]);
            if let Some(received) = parse(frame, header[0] & NEEDS_CHECKSUM != 0, segment_size.into()) {
                return Ok(Some(received));
            }
        }
    }

    fn wait(&self, limit: Duration) -> Result<bool> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        if ready < 0 {
            retry_or(io::Error::last_os_error())?;
        }
        ensure!(poll.revents & libc::POLLERR == 0, "the interface of a packet socket went down");
        Ok(ready > 0)
    }
}

fn part(start: *mut u8, length: usize) -> libc::iovec {
    libc::iovec { iov_base: start.cast(), iov_len: length }
}

fn retry_or(error: io::Error) -> Result<()> {
    match error.raw_os_error() {
        // A full transmit queue empties by itself.
        Some(libc::EINTR | libc::EAGAIN | libc::ENOBUFS) => Ok(()),
        _ => Err(error).context("packet socket"),
    }
}

fn open(interface: &str, protocol: libc::c_int) -> Result<OwnedFd> {
    let name = CString::new(interface)?;
    // SAFETY: `name` is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "interface {interface} does not exist");
    let protocol_be = u16::try_from(protocol)?.to_be();
    // SAFETY: no memory is involved. Protocol 0: nothing is received until `bind` says from where.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: `fd` was opened above and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
    set(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol_be;
    address.sll_ifindex = i32::try_from(index)?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: `address` is a sockaddr_ll of the length given.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(fd)
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let length = u32::try_from(size_of::<libc::c_int>())?;
    // SAFETY: `value` is an int of the length given.
    let status = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    ensure!(status == 0, "setsockopt {level}/{name}: {}", io::Error::last_os_error());
    Ok(())
}

//! The way to the servers in two-arm mode: a packet socket on their interface that only sends.
//!
//! AF_PACKET rather than a second AF_XDP socket: it needs no queue of its own (the interface may have fewer than the client
//! side), no second UMEM to copy into, no XDP program on that interface, and cannot meet EBUSY; `sendmmsg` costs one system
//! call a batch just the same, and past the queueing discipline both end in the same driver call.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use xdp::Packet;

use super::socket::set_socket_option;

/// Frames of one system call.
const BATCH: usize = 64;

/// Memory of frames on their way; the default holds about a hundred.
const SEND_BUFFER_BYTES: libc::c_int = 4 << 20;

/// `PACKET_QDISC_BYPASS` (linux/if_packet.h): frames go straight to the driver.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// A send-only packet socket.
#[derive(Debug)]
pub(super) struct ServerSide {
    fd: OwnedFd,
}

impl ServerSide {
    /// Opens a socket that sends by the interface with this index. Protocol 0: it receives nothing.
    pub(super) fn open(interface: u32) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is an address without content.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = interface.cast_signed();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel reads the address.
        let result = unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        set_socket_option(&fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)?;
        // Best effort, as for the AF_XDP sockets.
        let _ = set_socket_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
        Ok(Self { fd })
    }

    /// Sends frames in order. Returns how many were not sent.
    pub(super) fn send(&self, packets: &[Packet]) -> usize {
        packets.chunks(BATCH).map(|chunk| chunk.len() - self.send_chunk(chunk)).sum()
    }

    fn send_chunk(&self, packets: &[Packet]) -> usize {
        // SAFETY: all zeroes is a message without content.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for ((packet, vector), message) in packets.iter().zip(&mut vectors).zip(&mut messages) {
            vector.iov_base = packet.as_ptr().cast_mut().cast();
            vector.iov_len = packet.len();
            message.msg_hdr.msg_iov = std::ptr::from_mut(vector);
            message.msg_hdr.msg_iovlen = 1;
        }
        let (mut at, mut sent) = (0, 0);
        while at < packets.len() {
            let rest = &mut messages[at..packets.len()];
            // SAFETY: every message points to its vector and every vector to its packet; the kernel reads them during the call.
            let result = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(result) {
                Ok(count) if count > 0 => (at, sent) = (at + count, sent + count),
                // The call fails for its first message only; that one is lost, the others may go.
                _ => at += 1,
            }
        }
        sent
    }
}

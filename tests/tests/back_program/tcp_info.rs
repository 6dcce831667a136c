//! What the kernel says of a server's socket.

use std::{io, mem, net::TcpStream, os::fd::AsRawFd};

/// The socket's `struct tcp_info`.
pub(crate) fn tcp_info(stream: &TcpStream) -> libc::tcp_info {
    // SAFETY: all zeroes is a value of this structure of integers.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = size_of_val(&info) as u32;
    let fd = stream.as_raw_fd();
    // SAFETY: the buffer is as long as said.
    let status = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len)
    };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    info
}

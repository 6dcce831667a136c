//! A packet socket that puts frames on an interface.

use std::{
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// An AF_PACKET socket bound to one interface.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    pub fn open(interface: &str) -> Self {
        // SAFETY: a plain system call; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is a valid address of this family.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = nix::net::if_::if_nametoindex(interface).unwrap() as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is as long as said.
        let status = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the buffer is as long as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

//! A packet socket: puts frames on an interface, and takes those that come out of it.

use std::{
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// An `AF_PACKET` socket bound to one interface. It sees what it sent itself no more.
#[derive(Debug)]
pub(crate) struct RawSocket(OwnedFd);

/// More than the interface's MTU and an Ethernet header.
const LARGEST_FRAME: usize = 2048;

impl RawSocket {
    pub(crate) fn open(interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: a plain system call; the result is checked.
        let fd =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol.into()) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is a valid address of this family.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = nix::net::if_::if_nametoindex(interface).unwrap() as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is as long as said.
        let status = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the buffer is as long as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }

    /// Sends with a mark that the receiving programs see: the wire is inside the namespace.
    pub(crate) fn send_marked(&self, frame: &[u8], mark: u32) {
        self.set_mark(mark);
        self.send(frame);
        self.set_mark(0);
    }

    fn set_mark(&self, mark: u32) {
        let len = size_of_val(&mark) as u32;
        // SAFETY: the value is as long as said.
        let status = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MARK,
                (&raw const mark).cast(),
                len,
            )
        };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    }

    /// The next frame that has come, if there is one.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; LARGEST_FRAME];
        // SAFETY: the buffer is as long as said.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        frame.truncate(usize::try_from(len).ok()?);
        Some(frame)
    }
}

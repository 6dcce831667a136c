//! Listening TCP sockets of this network namespace, asked of the kernel by `sock_diag`, which, unlike /proc/net/tcp, also tells
//! which of them speak MPTCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// `INET_DIAG_ULP_INFO` of linux/inet_diag.h: what the socket speaks above or beside TCP.
const ULP_INFO: u16 = 19;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) mptcp: bool,
}

impl Listener {
    /// Whether it takes connections to an address. A wildcard of IPv6 may take IPv4 as well; that it does is not told.
    pub(super) fn serves(&self, address: IpAddr) -> bool {
        match self.address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.is_ipv4(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            own => own.to_canonical() == address,
        }
    }
}

/// All listening sockets.
pub(super) fn all() -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = Vec::new();
    for (family, id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        socket.send(&request(family, id), 0)?;
        receive(&socket, &mut found)?;
    }
    Ok(found)
}

fn request(family: u8, socket_id: SocketId) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        // What a socket speaks above TCP comes only with this.
        extensions: ExtensionFlags::INFO,
        states: StateFlags::LISTEN,
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn receive(socket: &Socket, found: &mut Vec<Listener>) -> io::Result<()> {
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message: NetlinkMessage<SockDiagMessage> =
                NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            // Messages are aligned to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(listener(&response));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

fn listener(response: &InetResponse) -> Listener {
    let id = &response.header.socket_id;
    Listener {
        address: id.source_address,
        port: id.source_port,
        mptcp: response.nlas.iter().any(|attribute| attribute.kind() == ULP_INFO && names_mptcp(attribute)),
    }
}

/// The attribute holds attributes, of which one is the name.
fn names_mptcp(attribute: &impl Nla) -> bool {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value.windows(6).any(|part| part == b"mptcp\0")
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::fd::{FromRawFd, OwnedFd},
    };

    use super::*;

    fn found(port: u16) -> Vec<Listener> {
        all().unwrap().into_iter().filter(|listener| listener.port == port).collect()
    }

    #[test]
    fn a_listener_is_found_while_it_listens() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let expected = Listener { address: Ipv4Addr::LOCALHOST.into(), port, mptcp: false };
        assert_eq!(found(port), [expected]);
        drop(socket);
        assert_eq!(found(port), []);
    }

    #[test]
    fn a_listener_that_speaks_mptcp_is_told_apart() {
        const MPTCP: i32 = 262;
        // SAFETY: a plain system call; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP) };
        if fd < 0 {
            return println!("skipped: this kernel has no MPTCP");
        }
        // SAFETY: a new descriptor that nobody else owns.
        let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: an unbound stream socket gets a port of its own when it listens.
        assert_eq!(unsafe { libc::listen(fd, 1) }, 0);
        let port = listener.local_addr().unwrap().port();
        let told: Vec<bool> = found(port).iter().map(|listener| listener.mptcp).collect();
        assert_eq!(told, [true]);
    }

    #[test]
    fn a_wildcard_serves_its_family() {
        let listener = |address: &str| Listener { address: address.parse().unwrap(), port: 80, mptcp: false };
        let (v4, v6) = ("198.18.0.100".parse().unwrap(), "2001:db8::100".parse().unwrap());
        assert!(listener("0.0.0.0").serves(v4) && !listener("0.0.0.0").serves(v6));
        assert!(listener("::").serves(v4) && listener("::").serves(v6));
        assert!(listener("198.18.0.100").serves(v4) && !listener("127.0.0.1").serves(v4));
    }
}

//! A client that is many: its host owns two wide prefixes beside its own addresses, and servers answer them by way of it. Real
//! sockets can be bound to any address of them, so that one host stands for thousands of sources.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Family, Host, Rig};

/// What the client owns of IPv4: all of 198.19.
const PREFIX_IPV4: &str = "198.19.0.0/16";

/// What the client owns of IPv6.
const PREFIX_IPV6: &str = "2001:db8:1::/48";

/// IPv4 addresses of the client by number.
#[must_use]
pub fn source_ipv4(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 19, high, low)
}

/// IPv6 addresses of the client by link (a /64) and number.
#[must_use]
pub fn source_ipv6(link: u16, number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, link, 0, 0, 0, number)
}

/// The client as many sources.
#[derive(Clone, Debug)]
pub struct Sources {
    client: Host,
    vip: [SocketAddr; 2],
}

impl Sources {
    /// Makes the client own its prefixes. Once a rig is enough; more often does no harm.
    ///
    /// # Errors
    /// If a route cannot be made.
    pub fn new(rig: &Rig) -> Result<Self> {
        let client = rig.host("client")?.clone();
        let plan = rig.plan();
        client.run(&format!("ip route replace local {PREFIX_IPV4} dev lo"))?;
        client.run(&format!("ip -6 route replace local {PREFIX_IPV6} dev lo"))?;
        client.sysctl(&[("ipv6/ip_nonlocal_bind", "1")])?;
        let (v4, v6) = (plan.address("client", Family::V4), plan.address("client", Family::V6));
        for server in plan.server_names() {
            let host = rig.host(&server)?;
            host.run(&format!("ip route replace {PREFIX_IPV4} via {v4}"))?;
            host.run(&format!("ip -6 route replace {PREFIX_IPV6} via {v6}"))?;
        }
        let vip = [Family::V4, Family::V6].map(|family| SocketAddr::new(plan.address("vip", family), 80));
        Ok(Self { client, vip })
    }

    /// The client's host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.client
    }

    /// Connects a real socket from this address to the service's VIP of its family; port 0 is any.
    ///
    /// # Errors
    /// As the kernel says: refused, or timed out after `limit`.
    pub fn connect(&self, source: SocketAddr, limit: Duration) -> Result<io::Result<TcpStream>> {
        self.client.enter(|| self.connect_inside(source, limit))
    }

    /// As `connect`, for a thread that is inside the client's host already.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect_inside(&self, source: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(source), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
        let vip = self.vip[usize::from(source.is_ipv6())];
        socket.connect_timeout(&vip.into(), limit)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

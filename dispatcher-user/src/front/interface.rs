//! What the front-end must know of its network interfaces: number, MAC address, MTU, receive queues. Asked by netlink and
//! ioctl, not read from /sys, which shows the interfaces of the network namespace that it was mounted in.

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use dispatcher_common::limits::{MAX_QUEUES, TICKET_LEN};
use futures_util::TryStreamExt;
use rtnetlink::{Handle, packet_route::link::LinkAttribute};
use thiserror::Error;

/// Bytes of IPv4 and TCP header without options.
const IPV4_HEADERS: u16 = 40;

/// Bytes of IPv6 and TCP header without options.
const IPV6_HEADERS: u16 = 60;

/// An interface cannot be used.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// For the operator.
    #[error("interface {0} does not exist; see `ip link` for those that do")]
    Absent(String),
    /// For the operator.
    #[error("interface {0} has no MAC address; only Ethernet will do")]
    NotEthernet(String),
    /// From the kernel, unexpected.
    #[error("cannot ask the kernel for its interfaces: {0}")]
    Netlink(String),
}

impl From<rtnetlink::Error> for InterfaceError {
    fn from(error: rtnetlink::Error) -> Self {
        Self::Netlink(error.to_string())
    }
}

/// An Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u32,
}

impl Interface {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When it does not exist or is not Ethernet.
    pub async fn find(handle: &Handle, name: &str) -> Result<Self, InterfaceError> {
        let mut links = handle.link().get().match_name(name.to_owned()).execute();
        let link = match links.try_next().await {
            Ok(Some(link)) => link,
            Ok(None) => return Err(InterfaceError::Absent(name.to_owned())),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => {
                return Err(InterfaceError::Absent(name.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let (mut mac, mut mtu) = (None, 0);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(address) => mac = <[u8; 6]>::try_from(address.as_slice()).ok(),
                LinkAttribute::Mtu(bytes) => mtu = *bytes,
                _ => {}
            }
        }
        let mac = mac.ok_or_else(|| InterfaceError::NotEthernet(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), index: link.header.index, mac, mtu })
    }
}

/// MSS of our SYN-ACK for IPv4 and IPv6, by the smallest MTU on the way that we know of: a full-sized first segment must
/// still fit it with its ticket.
#[must_use]
pub fn segment_sizes(mtu: u32) -> (u16, u16) {
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let room = mtu.saturating_sub(TICKET_LEN as u16);
    (room.saturating_sub(IPV4_HEADERS), room.saturating_sub(IPV6_HEADERS))
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Receive queues in use; drivers that do not say have one.
#[must_use]
pub fn receive_queues(interface: &str) -> usize {
    let queues = channels(interface).map_or(1, |channels| channels.rx + channels.combined);
    (queues as usize).clamp(1, MAX_QUEUES)
}

fn channels(interface: &str) -> io::Result<Channels> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: integers, arrays and unions of them, for which zeroes are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL with this command reads the name and writes to `channels`, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
        0 => Ok(channels),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_segment_fits_the_mtu_with_its_ticket() {
        assert_eq!(segment_sizes(1500), (1444, 1424));
        assert_eq!(segment_sizes(65_536), (65_479, 65_459));
    }

    #[test]
    fn an_interface_without_channels_has_one_queue() {
        assert_eq!(receive_queues("lo"), 1);
        assert_eq!(receive_queues("no-such-interface"), 1);
    }
}

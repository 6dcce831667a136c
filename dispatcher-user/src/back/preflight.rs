//! What the host must have before flows are accepted: the VIPs, TCP options that front-ends have promised to clients, software
//! that listens. Each lack has its own message with the command that mends it; what only costs speed or safety is a warning.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr},
};

use dispatcher_core::config::BackConfig;
use nix::{errno::Errno, ifaddrs::getifaddrs};
use thiserror::Error;

use super::{
    listener::{self, Listener},
    program,
};

/// The host is not ready.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// For the operator.
    #[error("VIP {vip} is not on lo; run: ip addr add {vip}/{bits} dev lo", bits = host_bits(*.vip))]
    VipMissing { vip: IpAddr },
    /// For the operator.
    #[error(
        "VIP {vip} is on {interface}, where this server would answer for it in the front-end's place; move it to lo: \
         ip addr del {vip}/{bits} dev {interface}; ip addr add {vip}/{bits} dev lo",
        bits = host_bits(*.vip)
    )]
    VipExposed { vip: IpAddr, interface: String },
    /// For the operator.
    #[error("net.ipv4.{name} is 0, {why}; run: sysctl -w net.ipv4.{name}=1")]
    SwitchedOff { name: &'static str, why: &'static str },
    /// For the operator.
    #[error(
        "the software on port {port} listens with MPTCP, and the kernel hands no flow to such a socket; make it listen without \
         (GODEBUG=multipathtcp=0 for Go, no `multipath` in nginx)"
    )]
    MptcpListener { port: u16 },
    /// From the kernel, unexpected.
    #[error("cannot list the addresses of this host: {0}; is /proc mounted?")]
    Addresses(#[from] Errno),
}

fn host_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Settings without which hand-offs fail, and why.
const NEEDED: [(&str, &str); 4] = [
    ("tcp_syncookies", "and then the kernel resets every flow that is handed to it"),
    ("tcp_timestamps", "but front-ends have agreed on timestamps with clients"),
    ("tcp_sack", "but front-ends have agreed on selective acknowledgements with clients"),
    ("tcp_window_scaling", "but front-ends have agreed on window scaling with clients"),
];

/// An address and the interface that has it.
type Owned = (IpAddr, String);

/// Checks the host; the first lack is the error.
pub(super) fn check(config: &BackConfig) -> Result<(), PreflightError> {
    let addresses = addresses()?;
    for (vip, _) in program::endpoints(config) {
        check_vip(vip, &config.interface, &addresses)?;
    }
    for (name, why) in NEEDED {
        if setting(&format!("ipv4/{name}")) == Some(0) {
            return Err(PreflightError::SwitchedOff { name, why });
        }
    }
    check_listeners(config)?;
    warn_of_settings(config, &addresses);
    Ok(())
}

fn addresses() -> Result<Vec<Owned>, Errno> {
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    Ok(getifaddrs()?.filter_map(|entry| Some((ip(entry.address?)?, entry.interface_name))).collect())
}

fn check_vip(vip: IpAddr, interface: &str, addresses: &[Owned]) -> Result<(), PreflightError> {
    let owners: Vec<&str> =
        addresses.iter().filter(|(address, _)| *address == vip).map(|(_, owner)| owner.as_str()).collect();
    if owners.contains(&interface) {
        return Err(PreflightError::VipExposed { vip, interface: interface.to_owned() });
    }
    if owners.is_empty() { Err(PreflightError::VipMissing { vip }) } else { Ok(()) }
}

/// MPTCP is refused; nobody listening is only a warning, for the software may start after us.
fn check_listeners(config: &BackConfig) -> Result<(), PreflightError> {
    let listeners = match listener::all() {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::warn!(
                "cannot list listening sockets: {error}; whether the server's software is ready is not known"
            );
            return Ok(());
        }
    };
    let mut silent = BTreeSet::new();
    for (vip, port) in program::endpoints(config) {
        let serving: Vec<&Listener> =
            listeners.iter().filter(|listener| listener.port == port && listener.serves(vip)).collect();
        if serving.iter().any(|listener| listener.mptcp) {
            return Err(PreflightError::MptcpListener { port });
        }
        if serving.is_empty() {
            silent.insert((vip, port));
        }
    }
    for (vip, port) in silent {
        tracing::warn!(
            "nothing listens on {vip} port {port} yet; its flows are reset until the server's software does"
        );
    }
    Ok(())
}

fn warn_of_settings(config: &BackConfig, addresses: &[Owned]) {
    if setting("ipv4/tcp_rfc1337") == Some(1) {
        tracing::warn!(
            "net.ipv4.tcp_rfc1337 is 1: a client that re-uses a port waits until this server's TIME_WAIT is over; run: \
             sysctl -w net.ipv4.tcp_rfc1337=0"
        );
    }
    let vips: Vec<IpAddr> = program::endpoints(config).map(|(vip, _)| vip).collect();
    let arp_ignore = ["all", &config.interface].map(|name| setting(&format!("ipv4/conf/{name}/arp_ignore")));
    if vips.iter().any(IpAddr::is_ipv4) && arp_ignore.iter().flatten().all(|value| *value == 0) {
        tracing::warn!(
            "this server answers ARP for the VIPs in the front-end's place; run: sysctl -w net.ipv4.conf.all.arp_ignore=1 \
             net.ipv4.conf.all.arp_announce=2"
        );
    }
    let has_link_local = addresses.iter().any(|(address, interface)| {
        *interface == config.interface
            && matches!(address, IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(v6))
    });
    if vips.iter().any(IpAddr::is_ipv6) && !has_link_local {
        tracing::warn!(
            "{0} has no link-local IPv6 address, without which IPv6 clients get no answer; run: sysctl -w \
             net.ipv6.conf.{0}.addr_gen_mode=0, and set the interface down and up",
            config.interface
        );
    }
}

/// A setting of this network namespace below /proc/sys/net; `None` where the kernel does not have it.
fn setting(path: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(on: &[&str]) -> Result<(), String> {
        let vip: IpAddr = "198.18.0.100".parse().unwrap();
        let addresses: Vec<Owned> = on.iter().map(|interface| (vip, (*interface).to_owned())).collect();
        check_vip(vip, "eth0", &addresses).map_err(|error| error.to_string())
    }

    #[test]
    fn a_vip_belongs_on_lo_or_another_interface_without_a_network() {
        assert_eq!(vip(&["lo"]), Ok(()));
        assert_eq!(vip(&["dummy0"]), Ok(()));
        let missing = vip(&[]).unwrap_err();
        assert!(missing.ends_with("run: ip addr add 198.18.0.100/32 dev lo"), "{missing}");
        assert!(vip(&["lo", "eth0"]).unwrap_err().contains("ip addr del 198.18.0.100/32 dev eth0"));
    }

    #[test]
    fn what_does_not_exist_has_no_value() {
        assert_eq!(setting("ipv4/no_such_setting"), None);
    }
}

//! Addresses and names in configuration files: MAC, IP, VIP, interface, server and class names. Owns what is valid
//! in them; duplicates are found where the lists are.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{
    error::{ConfigError, Source},
    quantity::text,
};
use crate::report::MAX_NAME_BYTES;

/// Longest name of a network interface (`IFNAMSIZ` less its NUL).
const MAX_INTERFACE_BYTES: usize = 15;

/// An Ethernet address of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = ();

    /// Six pairs of hex digits with colons or dashes between; neither zero nor a group address.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split([':', '-']);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        let of_one_host = bytes[0] & 1 == 0 && bytes != [0; 6];
        if parts.next().is_none() && of_one_host { Ok(Self(bytes)) } else { Err(()) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "the MAC address of one host, like \"02:00:00:00:00:0b\"", |text| {
            text.parse().ok()
        })
    }
}

/// Address and port of a UDP socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Socket(pub(super) SocketAddr);

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an address and port, like \"198.18.0.2:7180\" or \"[2001:db8::2]:7180\"";
        text(deserializer, expected, |text| text.parse().ok().map(Self))
    }
}

/// An address that one host or VIP can have.
pub(super) fn unicast(source: Source<'_>, key: &str, text: &Spanned<String>) -> Result<IpAddr, ConfigError> {
    let refuse = |reason: &str| {
        let advice = "write one like 198.18.0.100 or 2001:db8::100";
        Err(source.error(text.span(), format!("{key} {:?} is {reason}; {advice}", text.get_ref())))
    };
    match text.get_ref().parse::<IpAddr>() {
        Err(_) => refuse("no IP address"),
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() => {
            refuse("unspecified, multicast or loopback")
        }
        Ok(IpAddr::V4(ip)) if ip.is_broadcast() => refuse("a broadcast address"),
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => refuse("an IPv4-mapped address"),
        Ok(ip) => Ok(ip),
    }
}

/// A name of a server, service or class.
pub(super) fn name(source: Source<'_>, key: &str, text: &Spanned<String>) -> Result<String, ConfigError> {
    let name = text.get_ref();
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if valid && (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(name.clone());
    }
    let message = format!(
        "{key} {name:?} is not valid; use 1 to {MAX_NAME_BYTES} of letters, digits, dash, dot, underscore"
    );
    Err(source.error(text.span(), message))
}

/// A name that the kernel would take for an interface.
pub(super) fn interface(
    source: Source<'_>,
    key: &str,
    text: &Spanned<String>,
) -> Result<String, ConfigError> {
    let name = text.get_ref();
    let valid = !name.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0);
    if valid && (1..=MAX_INTERFACE_BYTES).contains(&name.len()) && name != "." && name != ".." {
        return Ok(name.clone());
    }
    Err(source.error(text.span(), format!("{key} {name:?} is no interface name; see `ip link`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_of_one_host() {
        assert_eq!(
            "02:00:00:00:00:0B".parse::<MacAddress>().map(|mac| mac.to_string()),
            Ok("02:00:00:00:00:0b".into())
        );
        assert!("02-00-00-00-00-0b".parse::<MacAddress>().is_ok());
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0b:1",
            "2:0:0:0:0:b",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00:+b",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}

//! What a rig looks like before anything is made: names, addresses, MACs and paths, all derived from the
//! instance name and the number of servers. Nothing here touches the system.
//!
//! Last parts of an address and of a MAC are written alike: server 1 is 198.18.0.11, 2001:db8::11 and
//! 02:00:00:00:00:11.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use anyhow::{Result, ensure};

/// Instance name of the lab that `cargo xtask rig up` leaves running.
pub const LAB: &str = "lab";

/// Servers are 198.18.0.11 to 198.18.0.99; the VIP is .100.
const MAX_SERVERS: usize = 89;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Names, addresses and paths of one rig.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) instance: String,
    pub(crate) servers: usize,
    pub(crate) two_arm: bool,
    /// Two-arm without switches.
    pub(crate) straight: bool,
}

impl Plan {
    pub(crate) fn new(instance: &str, servers: usize, two_arm: bool) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !instance.is_empty() && instance.len() <= 40 && instance.chars().all(plain),
            "instance name {instance:?} is not usable: take 1 to 40 of a-z, 0-9 and '-'"
        );
        ensure!(
            (1..=MAX_SERVERS).contains(&servers),
            "{servers} servers do not fit the rig: take 1 to {MAX_SERVERS}"
        );
        Ok(Self { instance: instance.to_owned(), servers, two_arm, straight: false })
    }

    /// Name of the rig, `lab` for the one that `cargo xtask rig up` makes.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the front-end has a second interface towards the servers.
    #[must_use]
    pub fn two_arm(&self) -> bool {
        self.two_arm
    }

    /// `server1` to `serverN`.
    #[must_use]
    pub fn server_names(&self) -> Vec<String> {
        (1..=self.servers).map(|i| format!("server{i}")).collect()
    }

    /// All hosts, switches included.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        let mut names = vec!["switch".to_owned()];
        if self.two_arm && !self.straight {
            names.push("switch2".to_owned());
        }
        names.extend(["client".to_owned(), "front".to_owned()]);
        names.extend(self.server_names());
        names
    }

    /// Address of a host (`client`, `front`, `server1`…) or of the service (`vip`).
    ///
    /// # Panics
    /// If the rig has no such host: a mistake of the caller.
    #[must_use]
    pub fn address(&self, host: &str, family: Family) -> IpAddr {
        let number = self.number(host);
        match family {
            Family::V4 => Ipv4Addr::new(198, 18, 0, number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits(number)).into(),
        }
    }

    /// `http://…` of a host or of `vip`, without a path; `port` 80 is left out.
    #[must_use]
    pub fn url(&self, host: &str, family: Family, port: u16) -> String {
        let address = match self.address(host, family) {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        if port == 80 { format!("http://{address}") } else { format!("http://{address}:{port}") }
    }

    /// MAC of a host's `eth0` (`front-eth1` for the second interface of a two-arm front-end, `client-eth1` for that of a
    /// client without a switch).
    #[must_use]
    pub fn mac(&self, host: &str) -> String {
        format!("02:00:00:00:00:{:02}", self.number(host) % 100)
    }

    /// Directory of the rig's configuration files, logs, sockets and contents.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/dispatcher-rig").join(&self.instance)
    }

    /// Where a role (`front`, `server1`…) pins its maps and links.
    #[must_use]
    pub fn pin_path(&self, role: &str) -> PathBuf {
        PathBuf::from(format!("/sys/fs/bpf/{}{role}", self.pin_prefix()))
    }

    /// Control socket of a role.
    #[must_use]
    pub fn control_socket(&self, role: &str) -> PathBuf {
        self.run_dir().join(role).join("control.sock")
    }

    /// Network namespace of a host, as in /run/netns.
    #[must_use]
    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", namespace_prefix(&self.instance))
    }

    pub(crate) fn pin_prefix(&self) -> String {
        format!("dispatcher-rig-{}-", self.instance)
    }

    fn number(&self, host: &str) -> u8 {
        let server = || host.strip_prefix("server")?.parse::<u8>().ok();
        match host {
            "client" => 1,
            "front" => 2,
            "front-eth1" => 3,
            "client-eth1" => 4,
            "vip" => 100,
            _ => match server() {
                Some(i) if (1..=self.servers).contains(&usize::from(i)) => 10 + i,
                _ => panic!("the rig has no host {host}: it has {}", self.host_names().join(", ")),
            },
        }
    }
}

/// Whether `namespace` is one that a rig of this instance makes.
pub(crate) fn is_namespace_of(instance: &str, namespace: &str) -> bool {
    let Some(host) = namespace.strip_prefix(&namespace_prefix(instance)) else { return false };
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    matches!(host, "client" | "front" | "switch" | "switch2")
        || host.strip_prefix("server").is_some_and(numbered)
}

fn namespace_prefix(instance: &str) -> String {
    if instance == LAB { "dispatcher-".to_owned() } else { format!("dispatcher-{instance}-") }
}

/// The number whose hexadecimal text is the decimal text of `number`: 11 becomes 0x11.
fn digits(number: u8) -> u16 {
    let n = u16::from(number);
    n / 100 * 0x100 + n / 10 % 10 * 0x10 + n % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(LAB, 12, false).unwrap()
    }

    #[test]
    fn addresses_and_macs_are_written_alike() {
        let plan = plan();
        assert_eq!(plan.address("server1", Family::V4).to_string(), "198.18.0.11");
        assert_eq!(plan.address("server1", Family::V6).to_string(), "2001:db8::11");
        assert_eq!(plan.mac("server12"), "02:00:00:00:00:22");
        assert_eq!(plan.url("vip", Family::V6, 80), "http://[2001:db8::100]");
        assert_eq!(plan.url("front", Family::V4, 8080), "http://198.18.0.2:8080");
    }

    #[test]
    fn the_lab_does_not_own_the_namespaces_of_a_test() {
        assert!(is_namespace_of(LAB, "dispatcher-server12"));
        assert!(!is_namespace_of(LAB, "dispatcher-trial-server1"));
        assert!(!is_namespace_of(LAB, "dispatcher-serverfarm"));
        assert!(is_namespace_of("trial", "dispatcher-trial-server1"));
        assert!(!is_namespace_of("trial", "dispatcher-trial-two-front"));
    }

    #[test]
    fn odd_sizes_and_names_are_refused() {
        assert!(Plan::new("a b", 3, false).is_err());
        assert!(Plan::new("a", 0, false).is_err());
        assert!(Plan::new("a", 90, false).is_err());
    }
}

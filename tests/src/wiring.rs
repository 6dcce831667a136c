//! Namespaces, veths, bridges, addresses and kernel settings of a rig.
//!
//! One-arm: all hosts hang on the bridge of `switch`. Two-arm: client and the front-end's eth0 hang on `switch`,
//! the servers and the front-end's eth1 on `switch2`, and a trunk joins the two. The trunk is the servers' way
//! back to the client (direct return): the front-end sends requests out of eth1, answers never meet it. Reports
//! go to eth1's address, so the trunk carries nothing towards the servers but what a test sends to a server's own address.
//!
//! Straight: without a switch, see `straight`.
//!
//! Checksums: what enters the front-end must be complete, as XDP sends it on as it is, so the client's eth0 and
//! the switch ports into the front-end run without TX checksum offload. Servers keep all offloads.

mod straight;

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    host::Host,
    pass,
    plan::{Family, Plan},
};

/// How the links of a rig behave, beyond who is joined to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    /// All offloads everywhere and no XDP program: for measuring a proxy at its best, without a dispatcher.
    pub full_offloads: bool,
    /// RX queues of the front-end's interfaces.
    pub front_queues: usize,
}

/// As `Host::sysctl` takes them.
type Setting = (&'static str, &'static str);

/// Makes all namespaces, with `more` settings than they always have, and joins them.
pub(crate) fn build(plan: &Plan, links: Links, more: &[Setting]) -> Result<()> {
    for name in plan.host_names() {
        add_namespace(&Host::new(plan, &name), more)?;
    }
    if plan.straight {
        return straight::build(plan, links);
    }
    let switch = Host::new(plan, "switch");
    batch(&switch, &switch_lines(plan, &switch, &plugged_into(plan, "switch")))?;
    if plan.two_arm {
        let switch2 = Host::new(plan, "switch2");
        batch(&switch2, &switch_lines(plan, &switch2, &plugged_into(plan, "switch2")))?;
        let peer = switch2.namespace();
        batch(
            &switch,
            &format!("link add trunk type veth peer name trunk netns {peer}\nlink set trunk master br0 up\n"),
        )?;
        batch(&switch2, "link set trunk master br0 up\n")?;
    }
    batch(&Host::new(plan, "client"), &address_lines(plan, "client"))?;
    batch(&Host::new(plan, "front"), &front_lines(plan))?;
    for name in plan.server_names() {
        batch(&Host::new(plan, &name), &server_lines(plan, &name))?;
    }
    front_ports(plan, links)
}

/// Deletes a namespace and with it its links.
pub(crate) fn delete_namespace(namespace: &str) -> Result<()> {
    let output = Command::new("ip").args(["netns", "delete", namespace]).output().context("cannot run ip")?;
    if !output.status.success() {
        bail!("cannot delete namespace {namespace}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn add_namespace(host: &Host, more: &[Setting]) -> Result<()> {
    let output = Command::new("ip").args(["netns", "add", host.namespace()]).output();
    let output = output.context("cannot run ip: install iproute2, or run `cargo xtask setup`")?;
    if !output.status.success() {
        bail!("cannot add host {}: {}", host.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    host.sysctl(settings(host.name()))?;
    host.sysctl(more)
}

/// Kernel settings by kind of host, set before there is a link: new links inherit `default`.
fn settings(host: &str) -> &'static [Setting] {
    // Duplicate address detection would keep link-local addresses and the VIP unusable for a second. For the VIP it
    // is off by `accept_dad` and not by `nodad`, since only the former lets `ndisc_notify` announce it.
    const FRONT: &[Setting] = &[
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/ndisc_notify", "1"),
        ("ipv6/conf/default/ndisc_notify", "1"),
        // eth1 of a two-arm front-end must not answer for addresses of eth0.
        ("ipv4/conf/all/arp_ignore", "1"),
        ("ipv4/conf/all/arp_announce", "2"),
    ];
    const CLIENT: &[Setting] = FRONT.split_at(7).0;
    const SERVER: &[Setting] = &[
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        // The VIP on lo is for accepting, not for answering ARP.
        ("ipv4/conf/all/arp_ignore", "1"),
        ("ipv4/conf/all/arp_announce", "2"),
        ("ipv4/tcp_syncookies", "1"),
    ];
    const SWITCH: &[Setting] =
        &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];
    match host {
        "switch" | "switch2" => SWITCH,
        "front" => FRONT,
        "client" => CLIENT,
        _ => SERVER,
    }
}

/// The hosts on a switch: port name, host, its interface, its MAC.
fn plugged_into(plan: &Plan, switch: &str) -> Vec<(String, String, &'static str, String)> {
    let plug = |host: &str| (host.to_owned(), host.to_owned(), "eth0", plan.mac(host));
    let servers = plan.server_names();
    match (switch, plan.two_arm) {
        ("switch", false) => {
            ["client", "front"].into_iter().chain(servers.iter().map(String::as_str)).map(plug).collect()
        }
        ("switch", true) => vec![plug("client"), plug("front")],
        _ => {
            let mut all = vec![("front".to_owned(), "front".to_owned(), "eth1", plan.mac("front-eth1"))];
            all.extend(servers.iter().map(|name| plug(name)));
            all
        }
    }
}

fn switch_lines(plan: &Plan, switch: &Host, plugs: &[(String, String, &'static str, String)]) -> String {
    // A new namespace hands bridged frames to iptables, 0.9 µs each. Without the bridge module's
    // netfilter part there is no such setting, and nothing to switch off.
    let _ =
        switch.sysctl(&[("bridge/bridge-nf-call-iptables", "0"), ("bridge/bridge-nf-call-ip6tables", "0")]);
    let mut lines =
        String::from("link set lo up\nlink add br0 type bridge mcast_snooping 0\nlink set br0 up\n");
    for (port, host, interface, mac) in plugs {
        let namespace = plan.namespace(host);
        let port_mac = mac.replacen("00:00:00:00", "00:00:00:01", 1);
        let _ = writeln!(
            lines,
            "link add {port} address {port_mac} type veth peer name {interface} address {mac} netns {namespace}\nlink set {port} master br0 up"
        );
    }
    lines
}

fn address_lines(plan: &Plan, host: &str) -> String {
    let (v4, v6) = (plan.address(host, Family::V4), plan.address(host, Family::V6));
    format!("link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n")
}

/// The VIP is deprecated as a source (`preferred_lft 0`): by its longer prefix Linux would prefer it.
fn vip_lines(plan: &Plan, interface: &str) -> String {
    let (v4, v6) = (plan.address("vip", Family::V4), plan.address("vip", Family::V6));
    format!("addr add {v4}/32 dev {interface}\naddr add {v6}/128 dev {interface} preferred_lft 0\n")
}

fn server_lines(plan: &Plan, host: &str) -> String {
    address_lines(plan, host) + &vip_lines(plan, "lo")
}

fn front_lines(plan: &Plan) -> String {
    let mut lines = address_lines(plan, "front") + &vip_lines(plan, "eth0");
    if !plan.two_arm {
        return lines;
    }
    let (v4, v6) = (plan.address("front-eth1", Family::V4), plan.address("front-eth1", Family::V6));
    let _ = writeln!(
        lines,
        "link set eth1 up\naddr add {v4}/32 dev eth1\naddr add {v6}/128 dev eth1 preferred_lft 0 nodad"
    );
    for name in plan.server_names() {
        let (to4, to6) = (plan.address(&name, Family::V4), plan.address(&name, Family::V6));
        let _ =
            writeln!(lines, "route add {to4}/32 dev eth1 src {v4}\nroute add {to6}/128 dev eth1 src {v6}");
    }
    lines
}

/// Offloads, queues and the XDP program of the links around the front-end.
fn front_ports(plan: &Plan, links: Links) -> Result<()> {
    let front = Host::new(plan, "front");
    let arms: &[(&str, &str)] =
        if plan.two_arm { &[("switch", "eth0"), ("switch2", "eth1")] } else { &[("switch", "eth0")] };
    for (name, interface) in arms {
        let switch = Host::new(plan, name);
        if links.front_queues > 1 {
            let queues = links.front_queues;
            front.run(&format!("/usr/sbin/ethtool -L {interface} rx {queues} tx {queues}"))?;
            switch.run(&format!("/usr/sbin/ethtool -L front rx {queues} tx {queues}"))?;
        }
        if !links.full_offloads {
            switch.run("/usr/sbin/ethtool -K front tx off")?;
            pass::attach(&switch, "front", &plan.pin_path(&format!("{name}-pass")))?;
        }
    }
    if !links.full_offloads {
        Host::new(plan, "client").run("/usr/sbin/ethtool -K eth0 tx off")?;
    }
    Ok(())
}

/// Runs lines of `ip` commands in one process.
fn batch(host: &Host, lines: &str) -> Result<()> {
    let mut command = host.command("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run ip on {}", host.name()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("cannot wire {}: {}", host.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

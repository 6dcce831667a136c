//! A rig without a bridge. The client's eth0 and the front-end's eth0 are the ends of one veth. Behind the front-end's eth1, a veth
//! too, the servers' eth0 and the client's eth1 are macvlans of its other end: they hand packets to each other as the virtual
//! functions of one network card do. So a request takes one veth more than it would without a front-end, and a response
//! (direct return) takes the same way as that of a server that the client asks itself: from macvlan to macvlan.
//!
//! Checksums: of what the client sends into the front-end only. Responses keep all offloads.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Links, address_lines, batch, front_lines, server_lines};
use crate::{
    host::Host,
    pass,
    plan::{Family, Plan},
};

/// The end of the front-end's eth1 that has the macvlans, in `switch`.
const TRUNK: &str = "trunk";

pub(super) fn build(plan: &Plan, links: Links) -> Result<()> {
    let host = |name: &str| Host::new(plan, name);
    let (client, front) = (plan.namespace("client"), plan.namespace("front"));
    batch(
        &host("front"),
        &format!(
            "link add eth0 address {} type veth peer name eth0 address {} netns {client}\n",
            plan.mac("front"),
            plan.mac("client")
        ),
    )?;
    let mut lines = format!(
        "link set lo up\nlink add {TRUNK} type veth peer name eth1 address {} netns {front}\nlink set {TRUNK} up\n",
        plan.mac("front-eth1")
    );
    macvlan(&mut lines, plan, "client", "eth1", &plan.mac("client-eth1"));
    for name in plan.server_names() {
        macvlan(&mut lines, plan, &name, "eth0", &plan.mac(&name));
    }
    batch(&host("switch"), &lines)?;
    batch(&host("client"), &client_lines(plan))?;
    batch(&host("front"), &front_lines(plan))?;
    for name in plan.server_names() {
        batch(&host(&name), &(server_lines(plan, &name) + &way_to_client(plan)))?;
    }
    ports(plan, links)
}

fn macvlan(lines: &mut String, plan: &Plan, host: &str, interface: &str, mac: &str) {
    let namespace = plan.namespace(host);
    let _ = writeln!(
        lines,
        "link add link {TRUNK} name {interface} address {mac} netns {namespace} type macvlan mode bridge"
    );
}

/// The front-end by eth0, servers by eth1.
fn client_lines(plan: &Plan) -> String {
    let mut lines = address_lines(plan, "client") + "link set eth1 up\n";
    for family in [Family::V4, Family::V6] {
        let (own, bits) = (plan.address("client", family), host_bits(family));
        for name in plan.server_names() {
            let _ = writeln!(lines, "route add {}/{bits} dev eth1 src {own}", plan.address(&name, family));
        }
    }
    lines
}

/// By hand: the client's address is on its other interface, for which it answers no neighbour solicitation.
fn way_to_client(plan: &Plan) -> String {
    let mac = plan.mac("client-eth1");
    let entry = |family| {
        format!("neigh add {} lladdr {mac} dev eth0 nud permanent\n", plan.address("client", family))
    };
    [Family::V4, Family::V6].map(entry).concat()
}

const fn host_bits(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// Offloads, queues, and what the front-end's XDP actions want of the other ends of its links: a program for `XDP_TX`, NAPI (which
/// comes with GRO) for `XDP_REDIRECT`.
fn ports(plan: &Plan, links: Links) -> Result<()> {
    let [client, front, switch] = ["client", "front", "switch"].map(|name| Host::new(plan, name));
    if links.front_queues > 1 {
        let queues = links.front_queues;
        for (host, interface) in [(&client, "eth0"), (&front, "eth0"), (&front, "eth1"), (&switch, TRUNK)] {
            host.run(&format!("/usr/sbin/ethtool -L {interface} rx {queues} tx {queues}"))?;
        }
    }
    if !links.full_offloads {
        client.run("/usr/sbin/ethtool -K eth0 tx off")?;
        pass::attach(&client, "eth0", &plan.pin_path("client-pass"))?;
        switch.run(&format!("/usr/sbin/ethtool -K {TRUNK} gro on"))?;
    }
    Ok(())
}

//! Lets the client's host speak for all clients of a load: their networks are local there, and every other host reaches them
//! through it.

use anyhow::Result;

use super::Level;
use crate::{Family, Rig};

/// Gives the rig's client the addresses of all levels.
///
/// # Errors
/// When a route cannot be set.
pub fn attach(rig: &Rig) -> Result<()> {
    let gateway = rig.plan().address("client", Family::V4);
    for level in Level::ALL {
        rig.host("client")?.run(&format!("ip route add local {} dev lo", level.network()))?;
        let servers = rig.plan().server_names();
        for name in servers.iter().map(String::as_str).chain(["front"]) {
            rig.host(name)?.run(&format!("ip route add {} via {gateway}", level.network()))?;
        }
    }
    Ok(())
}

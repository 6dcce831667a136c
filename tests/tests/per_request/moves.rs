//! Whether connections went from server to server, as the front-end counts it, and what may not be counted in any of these tests.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{Growth, Rig};

/// Counters are read a moment after the packets passed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Drops that mean that a connection has lost its way. `no_ticket_dropped` is not among them: an ACK that an old server sends
/// back may meet the new one before the hand-off does.
const NEVER: [(&str, &str); 2] =
    [("server", "returned_too_often_dropped"), ("front", "returned_unknown_dropped")];

/// Checks that at least so many requests have gone to another server than the one before.
pub(crate) fn happened(rig: &Rig, growth: &Growth, least: u64) {
    reached(rig, growth, "front", "move_released", least);
}

/// How often the connection of a client has gone to another server, as an operator sees it.
pub(crate) fn of_flow(rig: &Rig, client: SocketAddr) -> u64 {
    shown(rig, client, "moves")
}

/// Waits until the client is shown to have acknowledged so much of its latest response.
pub(crate) fn acknowledged(rig: &Rig, client: SocketAddr, bytes: u64) {
    wait_for(|| shown(rig, client, "response_bytes"), bytes, &format!("response_bytes of {client}"));
    assert_eq!(shown(rig, client, "response_bytes"), bytes);
}

/// A number of the client's filter, as an operator sees it.
fn shown(rig: &Rig, client: SocketAddr, field: &str) -> u64 {
    let rows = rig.rows("front", &["show", "filters", "--limit", "100000"]).unwrap();
    let is_it = |row: &&Value| row["client"] == client.ip().to_string() && row["port"] == client.port();
    // Of another service there may be an old one.
    let latest = rows.iter().filter(is_it).min_by_key(|row| row["idle_ms"].as_u64());
    let row = latest.unwrap_or_else(|| panic!("no filter of {client}"));
    row[field].as_u64().unwrap_or_else(|| panic!("there is no {field} in {row}"))
}

/// Waits until a counter has grown by at least so much; `server` are all servers together.
pub(crate) fn reached(rig: &Rig, growth: &Growth, role: &str, name: &str, least: u64) {
    wait_for(|| grown(rig, growth, role, name), least, &format!("{name} of {role}"));
}

fn wait_for(grown: impl Fn() -> u64, least: u64, what: &str) {
    let start = Instant::now();
    while grown() < least {
        assert!(start.elapsed() < PATIENCE, "{what} grew by {}, not by {least}", grown());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until so many flows could not be followed any more for a reason, whether the program or the slow path has found it.
pub(crate) fn opaque(rig: &Rig, growth: &Growth, reason: &str, least: u64) {
    let found = || {
        let front = growth.all_of(rig, "front").into_iter();
        front.filter(|(name, _)| name.starts_with(&format!("opaque_{reason}"))).map(|(_, value)| value).sum()
    };
    wait_for(found, least, &format!("flows that are opaque: {reason}"));
}

/// Checks that no connection lost its way; for links that lose nothing.
pub(crate) fn lost_nothing(rig: &Rig, growth: &Growth) {
    for (role, name) in NEVER {
        assert_eq!(grown(rig, growth, role, name), 0, "{name} of {role}");
    }
}

/// How much a counter has grown; `server` are all servers together.
pub(crate) fn grown(rig: &Rig, growth: &Growth, role: &str, name: &str) -> u64 {
    match role {
        "server" => growth.of_servers(rig, name).unwrap(),
        _ => growth.of(rig, role, name).unwrap(),
    }
}

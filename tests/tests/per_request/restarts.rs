//! Daemons that are away. Without the control plane kept connections go on, at the server where they are, and move again when it
//! is back; a server whose agent is silent loses its connections at their next requests.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::Growth;

use crate::{
    client::Client,
    moves, stage,
    stage::{FAMILIES, WEB},
};

const CLIENTS: usize = 12;
const AWAY: Duration = Duration::from_secs(1);

/// Asks once on each connection; gives who answered.
fn ask_all(clients: &mut [Client], round: usize) -> Vec<String> {
    let ask = |(number, client): (usize, &mut Client)| {
        let target = format!("/id/{round}/{number}");
        let response = client.get(&target);
        assert_eq!(response.text(), format!("{} {target} \n", response.server()));
        response.server().to_owned()
    };
    clients.iter_mut().enumerate().map(ask).collect()
}

#[test]
fn kept_connections_go_on_without_the_control_plane() {
    let Some(mut stage) = stage::shared() else { return };
    let connect = |number: usize| stage.client(FAMILIES[number % 2], WEB);
    let mut clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
    for round in 0..20 {
        ask_all(&mut clients, round);
    }
    moves::happened(stage.rig(), stage.growth(), CLIENTS as u64);
    stage.rig_mut().kill9("front").unwrap();
    let start = Instant::now();
    for round in 0.. {
        ask_all(&mut clients, round);
        thread::sleep(Duration::from_millis(20));
        if start.elapsed() > AWAY {
            break;
        }
    }
    stage.rig_mut().restart("front").unwrap();
    stage.rig().wait_until_servers_up(Duration::from_secs(10)).unwrap();
    moves::opaque(stage.rig(), stage.growth(), "unheard", 1);
    let growth = Growth::since_now(stage.rig());
    for round in 0..20 {
        ask_all(&mut clients, round);
    }
    let mut later: Vec<Client> = FAMILIES.map(|family| stage.client(family, WEB)).into();
    for round in 0..20 {
        ask_all(&mut later, round);
    }
    moves::lost_nothing(stage.rig(), &growth);
    moves::happened(stage.rig(), &growth, 10);
}

#[test]
fn connections_leave_a_server_whose_agent_is_silent() {
    const SILENT: &str = "server2";
    let Some(mut stage) = stage::shared() else { return };
    let connect = |number: usize| stage.client(FAMILIES[number % 2], WEB);
    let mut clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
    let servers: BTreeSet<String> = (0..5).flat_map(|round| ask_all(&mut clients, round)).collect();
    assert_eq!(servers.len(), 3);
    stage.rig_mut().kill9(SILENT).unwrap();
    let silent = |rows: &Vec<Value>| rows.iter().any(|row| row["name"] == SILENT && row["state"] != "up");
    stage.rig().wait_for("front", "servers", Duration::from_secs(3), silent).unwrap();
    ask_all(&mut clients, 5);
    for round in 6..12 {
        let servers = ask_all(&mut clients, round);
        assert!(!servers.iter().any(|server| server == SILENT), "round {round}: {servers:?}");
    }
    stage.rig_mut().restart(SILENT).unwrap();
    stage.rig().wait_until_servers_up(Duration::from_secs(10)).unwrap();
    let servers: BTreeSet<String> = (12..18).flat_map(|round| ask_all(&mut clients, round)).collect();
    assert_eq!(servers.len(), 3, "it gets none of its connections back");
}

//! The control plane away: kept connections go on, at the server where they are, and move again when it is back.

use std::{
    thread,
    time::{Duration, Instant},
};

use tests::Growth;

use crate::{
    client::Client,
    moves, stage,
    stage::{FAMILIES, WEB},
};

const CLIENTS: usize = 12;
const AWAY: Duration = Duration::from_secs(1);

/// Asks once on each connection.
fn ask_all(clients: &mut [Client], round: usize) {
    for (number, client) in clients.iter_mut().enumerate() {
        let target = format!("/id/{round}/{number}");
        let response = client.get(&target);
        assert_eq!(response.text(), format!("{} {target} \n", response.server()));
    }
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

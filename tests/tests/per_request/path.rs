//! A connection that goes to another server goes on as fast as before: the congestion window goes along.

use crate::{
    client::Client,
    stage,
    stage::{FAMILIES, Stage, WEB},
};

/// A move more than a retransmission time-out after the response before, on a busy machine, takes no window along.
const TRIES: usize = 10;

/// Twice what every socket begins with.
const GROWN: u32 = 20;

#[test]
fn the_window_of_a_long_response_is_the_next_servers_too() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let windows: Vec<u32> = (0..TRIES)
            .map(|_| {
                let mut client = stage.client(family, WEB);
                after_a_move(&stage, &mut client)
            })
            .collect();
        assert!(windows.iter().any(|window| *window >= GROWN), "{family:?}: {windows:?}");
    }
}

/// Loads something long, then asks until another server answers; gives that one's window in segments.
fn after_a_move(stage: &Stage, client: &mut Client) -> u32 {
    let before = client.get("/bytes/1m").server().to_owned();
    let mut numbers = 0..;
    let next = numbers.find_map(|number: u32| {
        let response = client.get(&format!("/id/{number}"));
        (response.server() != before).then(|| response.server().to_owned())
    });
    window(stage, &next.expect("numbers do not end"), client.source().port())
}

/// What the kernel of a server says of its socket.
fn window(stage: &Stage, server: &str, client_port: u16) -> u32 {
    let line = format!("ss --tcp --info --numeric --oneline --no-header dport = :{client_port}");
    let text = stage.rig().host(server).unwrap().run(&line).unwrap();
    let window = text.split(' ').find_map(|field| field.strip_prefix("cwnd:")?.parse().ok());
    window.unwrap_or_else(|| panic!("{server} has no window for port {client_port}: {text:?}"))
}

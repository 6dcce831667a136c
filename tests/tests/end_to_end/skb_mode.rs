//! The main traffic with the front-end's program in generic mode, for drivers without native XDP.

use std::time::Duration;

use tests::{FrontOptions, Rig, skipped};

use crate::{stage, two_arm};

#[test]
fn the_generic_mode_serves_like_the_native_one() {
    if skipped(&stage::test_name()) {
        return;
    }
    let mut rig = Rig::builder("e2e-skb").start().unwrap();
    stage::start_agents(&mut rig);
    let options = FrontOptions { mode: "skb".to_owned(), ..stage::front_options() };
    rig.start_front(&options).unwrap();
    rig.wait_until_servers_up(Duration::from_secs(10)).unwrap();
    two_arm::main_traffic(&mut rig);
    let link = rig.host("front").unwrap().run("ip -d link show dev eth0").unwrap();
    assert!(link.contains("xdpgeneric"), "{link}");
}

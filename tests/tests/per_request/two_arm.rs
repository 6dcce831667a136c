//! A front-end with two interfaces: what a server releases comes in by the other one than what clients send.

use tests::{Growth, Rig, skipped};

use crate::{
    many, moves, stage,
    stage::{FAMILIES, Standing, WEB},
};

const REQUESTS: usize = 10_000;

#[test]
fn requests_move_behind_a_front_end_with_two_arms() {
    if skipped(&stage::test_name()) {
        return;
    }
    let standing = Standing::start(Rig::builder("per-request-arms").two_arm(true));
    let rig = &standing.rig;
    let growth = Growth::since_now(rig);
    let targets = FAMILIES.map(|family| stage::address(rig, "vip", family, WEB));
    let seen = rig.host("client").unwrap().enter(|| many::all_connections(&targets, REQUESTS)).unwrap();
    assert_eq!(many::responses(&seen), REQUESTS as u64);
    moves::lost_nothing(rig, &growth);
    moves::happened(rig, &growth, REQUESTS as u64 / 2);
}

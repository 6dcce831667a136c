//! A seeded model of per-request dispatch: a client, a front-end, servers, and a network that loses, copies, delays and reorders,
//! around the very decisions that the programs call (`dispatcher_common::per_request`). At every step, judges that see everything
//! look for broken rules. `PER_REQUEST_STEPS` sets how many steps a run takes, `PER_REQUEST_SEED` the first seed,
//! `PER_REQUEST_TRACE` how many of the last events are shown when a rule was broken.

mod client;
mod front_end;
mod inbox;
mod ledger;
mod mutation;
mod network;
mod outbox;
mod random;
mod reader;
mod segment;
mod server;
mod socket;
mod software;
mod trace;
mod world;

use std::env;

use crate::{ledger::Ledger, mutation::Mutation, world::World};

/// Steps of a run unless the environment says otherwise.
const STEPS: u64 = 2_500_000;

/// Steps within which a wrong rule must show.
const MUTATION_STEPS: u64 = 120_000_000;

fn from_env(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Runs worlds until so many steps were made. Gives the numbers of all, or the first seed that broke a rule, and how.
fn run(mutation: Mutation, most_steps: u64) -> Result<(u64, u64, Vec<Ledger>), (u64, String)> {
    let first = from_env("PER_REQUEST_SEED", 1);
    let mut steps = 0;
    let mut ledgers = Vec::new();
    let mut seed = first;
    while steps < most_steps {
        let (made, ledger) = World::new(seed, mutation).run().map_err(|violation| (seed, violation))?;
        steps += made;
        ledgers.push(ledger);
        seed += 1;
    }
    Ok((seed - first, steps, ledgers))
}

#[test]
fn every_response_is_whole_and_no_flow_gets_stuck() {
    let (worlds, steps, ledgers) = run(Mutation::None, from_env("PER_REQUEST_STEPS", STEPS))
        .unwrap_or_else(|(seed, violation)| panic!("seed {seed}: {violation}"));
    let sum = |number: fn(&Ledger) -> u64| ledgers.iter().map(number).sum::<u64>();
    let numbers = [
        ("connections", sum(|ledger| ledger.connections)),
        ("cut", sum(|ledger| ledger.cut)),
        ("responses", sum(|ledger| ledger.responses)),
        ("moves", sum(|ledger| ledger.moves)),
        ("kept", sum(|ledger| ledger.kept)),
        ("spoilt", sum(|ledger| ledger.spoilt)),
        ("called off", sum(|ledger| ledger.called_off)),
        ("returned", sum(|ledger| ledger.returned)),
        ("opaque", sum(|ledger| ledger.opaque)),
    ];
    println!("{worlds} worlds from seed {}, {steps} steps: {numbers:?}", from_env("PER_REQUEST_SEED", 1));
    // A model in which nothing of this happens would show nothing. That a release is called off takes rare luck.
    let is_seen = |(name, number): &(&str, u64)| *number > 0 || *name == "called off";
    assert!(numbers.iter().all(is_seen), "{numbers:?}");
}

/// With a rule switched off, a broken rule must show.
fn assert_is_noticed(mutation: Mutation) {
    let outcome = run(mutation, MUTATION_STEPS);
    let (seed, violation) = outcome.err().unwrap_or_else(|| panic!("{mutation:?} was not noticed"));
    println!("{mutation:?}: seed {seed}: {}", violation.lines().next().unwrap_or_default());
}

#[test]
fn noticed_free_while_unanswered() {
    assert_is_noticed(Mutation::FreeWhileUnanswered);
}

#[test]
fn noticed_free_while_unacknowledged() {
    assert_is_noticed(Mutation::FreeWhileUnacknowledged);
}

#[test]
fn noticed_free_inside_response() {
    assert_is_noticed(Mutation::FreeInsideResponse);
}

#[test]
fn noticed_release_before_dead() {
    assert_is_noticed(Mutation::ReleaseBeforeDead);
}

#[test]
fn noticed_release_whatever_ack() {
    assert_is_noticed(Mutation::ReleaseWhateverAck);
}

#[test]
fn noticed_release_though_spoilt() {
    assert_is_noticed(Mutation::ReleaseThoughSpoilt);
}

#[test]
fn noticed_reset_newcomer() {
    assert_is_noticed(Mutation::ResetNewcomer);
}

#[test]
fn noticed_take_stale() {
    assert_is_noticed(Mutation::TakeStale);
}

#[test]
fn noticed_take_while_asked() {
    assert_is_noticed(Mutation::TakeWhileAsked);
}

#[test]
fn noticed_write_while_followed() {
    assert_is_noticed(Mutation::WriteWhileFollowed);
}

#[test]
fn noticed_write_while_leaving() {
    assert_is_noticed(Mutation::WriteWhileLeaving);
}

#[test]
fn noticed_ticket_untold() {
    assert_is_noticed(Mutation::TicketUntold);
}

#[test]
fn noticed_repeat_whatever_ack() {
    assert_is_noticed(Mutation::RepeatWhateverAck);
}

#[test]
fn noticed_hand_over_while_asked() {
    assert_is_noticed(Mutation::HandOverWhileAsked);
}

#[test]
fn noticed_take_over_unanswered() {
    assert_is_noticed(Mutation::TakeOverUnanswered);
}

#[test]
fn noticed_books_not_released() {
    assert_is_noticed(Mutation::BooksNotReleased);
}

#[test]
fn noticed_note_own_syn() {
    assert_is_noticed(Mutation::NoteOwnSyn);
}

#[test]
fn noticed_forget_earlier() {
    assert_is_noticed(Mutation::ForgetEarlier);
}

#[test]
fn noticed_reset_while_going() {
    assert_is_noticed(Mutation::ResetWhileGoing);
}

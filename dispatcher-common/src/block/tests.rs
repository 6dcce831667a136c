use proptest::prelude::*;

use super::*;
use crate::member::{ANY_PORT, MemberKey};

const SCOPE: Scope = Scope { owner: 3, generation: 8 };

fn look_up(members: &Members, port_be: u16, client: Address) -> Option<u8> {
    let found = Search::new(SCOPE, port_be, client).look_up(
        &members.levels()[usize::from(SCOPE.owner)],
        |number| members.marks()[number as usize],
        |number| members.lines().get(number as usize),
    );
    found.checked_sub(1).map(|ceiling| ceiling as u8)
}

fn address(number: u128) -> Address {
    std::net::IpAddr::from(number.to_be_bytes()).into()
}

fn key(number: u128, prefix_bits: u8) -> MemberKey {
    MemberKey { scope: SCOPE, port_be: ANY_PORT, address: address(number), prefix_bits }
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// Few distinct addresses, so that rules nest; all of them in one of two families.
fn numbers() -> impl Strategy<Value = u128> {
    (any::<bool>(), 0_u32..4, 0_u32..4, any::<u8>()).prop_map(|(ipv4, high, low, last)| {
        let low = u128::from(low) << 14 | u128::from(last);
        if ipv4 {
            0xffff_0000_0000 | u128::from(high) << 30 | low
        } else {
            u128::from(high) << 126 | low << 50 | low
        }
    })
}

proptest! {
    #[test]
    fn a_look_up_finds_the_longest_prefix(
        mut rules in proptest::collection::vec((numbers(), 0_u8..=128, 0_u8..8), 0..60),
        clients in proptest::collection::vec(numbers(), 1..60),
    ) {
        let mut members = Members::default();
        rules.sort_by_key(|(_, bits, _)| *bits);
        for (number, bits, ceiling) in &rules {
            let key = key(number & mask(*bits), *bits);
            members.insert(&key, *ceiling).unwrap();
        }
        for client in clients {
            let expected = rules
                .iter()
                .rfind(|(number, bits, _)| (number ^ client) & mask(*bits) == 0)
                .map(|(.., ceiling)| *ceiling);
            prop_assert_eq!(look_up(&members, ANY_PORT, address(client)), expected);
        }
    }
}

#[test]
fn a_hundred_thousand_rules_find_room() {
    let mut members = Members::default();
    let mut number = 1_u128;
    for _ in 0..100_000 {
        number = number.wrapping_mul(0xda94_2042_e4dd_58b5_0000_0001_0000_0001).wrapping_add(0x1234_5677);
        let key = key(number & mask(64), 64);
        members.insert(&key, 3).unwrap();
        assert_eq!(look_up(&members, ANY_PORT, address(number)), Some(3));
    }
}

#[test]
fn generations_take_turns() {
    let other = Scope { generation: SCOPE.generation + 1, ..SCOPE };
    let search = |scope| Search::new(scope, ANY_PORT, address(1 << 100));
    assert_eq!(half(SCOPE) + half(other), 1);
    let starts = [SCOPE, other].map(|scope| {
        let search = search(scope);
        (search.lines(&search.key(3))[0] as usize / MAX_MEMBER_LINES, search.half as usize)
    });
    assert_eq!(starts, [(0, 0), (1, 1)]);
}

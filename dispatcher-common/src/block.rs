//! How the member-table lies in memory, for a look-up of few cache misses: prefixes in blocks of sixteen, blocks in a hash table
//! of lines. The kernel's own longest-prefix trie visits some twenty nodes for 100 000 rules, each of them a miss.
//!
//! A block holds the prefixes of one to four bits after an address's first 4·n, expanded to four bits; n is its level. Hints say
//! which levels are worth a try for a group of clients, those that share 16 bits of IPv4 or 48 of IPv6; most often it is one.
//!
//! The table has two halves. Services refer to one of them by the generation of their rules; other rules are written to the other
//! half as a whole, while nobody looks there.

use crate::{
    address::Address,
    limits::{MAX_MEMBER_HINTS, MAX_MEMBER_LINES, MAX_SERVICES},
    member::Scope,
};

/// Levels of an address: one for each four bits.
pub const LEVELS: u32 = 32;

/// Sixteen prefixes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberBlock {
    key: BlockKey,
    /// Four bits for each: ceiling + 1, or 0 where no rule is.
    ceilings: u64,
}

/// What a block is found by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockKey {
    /// The address's first 4·level bits, shifted to the low end of as many halves as they need.
    prefix: [u64; 2],
    /// Level (8 bits), owner (8), zeroes (16), port (16), [`IN_USE`], [`SPILLED`].
    scope: u64,
}

const PORT: u64 = 0xffff << 32;

/// The block is not empty.
const IN_USE: u64 = 1 << 48;

/// Of a line's first block: a block that belongs to this line is in its spare line.
const SPILLED: u64 = 1 << 49;

/// A line of the hash table.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberLine([MemberBlock; 2]);

const _: () = assert!(size_of::<MemberLine>() == 64);
const _: () = assert!(MAX_MEMBER_LINES.is_power_of_two());

/// Levels as bits, the longest lowest.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels(pub u32);

impl Levels {
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The longest, and the rest.
    #[inline(always)]
    #[must_use]
    pub const fn split(self) -> Option<(u32, Self)> {
        if self.0 == 0 {
            return None;
        }
        let rest = self.0 & (self.0 - 1);
        // eBPF cannot count zeroes.
        let lowest = (self.0 ^ rest) as u64;
        let mut zeroes = 0;
        let mut step = 16;
        while step != 0 {
            if lowest >> zeroes >> step != 0 {
                zeroes += step;
            }
            step /= 2;
        }
        Some((LEVELS - 1 - zeroes, Self(rest)))
    }
}

/// Levels worth a try for a group of clients, or for several that share it by chance.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberHint {
    /// Without a port and with one.
    levels: [Levels; 2],
}

const _: () = assert!(size_of::<MemberHint>() == 8);

impl MemberHint {
    #[inline(always)]
    #[must_use]
    pub const fn levels(&self, with_port: bool) -> Levels {
        let [any, port] = self.levels;
        if with_port { port } else { any }
    }
}

/// Levels too short for hints, of a service's rules in one half.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberLevels {
    /// Without a port and with one; of mapped IPv4 addresses and of IPv6.
    levels: [[Levels; 2]; 2],
}

const _: () = assert!(size_of::<MemberLevels>() == 16);
const _: () = assert!(MAX_MEMBER_HINTS.is_power_of_two());

impl MemberLevels {
    /// Index in the map.
    #[inline(always)]
    #[must_use]
    pub const fn index(scope: Scope) -> u32 {
        half(scope) * MAX_SERVICES as u32 + scope.owner as u32
    }

    /// Levels to try for a client, whatever the hint of its group.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, client: &Address, with_port: bool) -> Levels {
        let [any, port] = &self.levels;
        let [ipv4, ipv6] = if with_port { port } else { any };
        if client.is_ipv4() { *ipv4 } else { *ipv6 }
    }
}

/// Level of the blocks that begin where a group ends.
#[inline(always)]
const fn group_level(is_ipv4: bool) -> u32 {
    if is_ipv4 { 28 } else { 12 }
}

/// The half of the table that a generation of rules is in.
#[inline(always)]
#[must_use]
pub const fn half(scope: Scope) -> u32 {
    scope.generation as u32 & 1
}

/// An address whose blocks are looked for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Search {
    halves: [u64; 2],
    scope: u64,
    half: u64,
}

impl Search {
    #[inline(always)]
    #[must_use]
    pub const fn new(scope: Scope, port_be: u16, address: Address) -> Self {
        let [high, low] = address.halves();
        let half = half(scope) as u64;
        let scope = (scope.owner as u64 & 0xff) << 8 | (port_be as u64) << 32 | IN_USE;
        Self { halves: [u64::from_be(high), u64::from_be(low)], scope, half }
    }

    /// The key of its block at a level.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self, level: u32) -> BlockKey {
        let [high, low] = self.halves;
        let (half, bits) = if level < 16 { (high, level * 4) } else { (low, level * 4 - 64) };
        // Of 64 bits less so many, in two steps: none of 64 is no shift by 64.
        let first = half >> 1 >> (63 - bits);
        let prefix = if level < 16 { [first, 0] } else { [high, first] };
        BlockKey { prefix, scope: self.scope | level as u64 }
    }

    /// Index of the hint of its group in the map.
    #[inline(always)]
    #[must_use]
    pub const fn hint(&self) -> u32 {
        let [high, low] = self.halves;
        let number = self.key(group_level(high == 0 && low >> 32 == 0xffff)).hint();
        self.half as u32 * MAX_MEMBER_HINTS as u32 + number
    }

    /// Indices in the map of the line that a block belongs to, and of its spare line.
    #[inline(always)]
    #[must_use]
    pub const fn lines(&self, key: &BlockKey) -> [u32; 2] {
        let [home, spare] = key.lines();
        let start = self.half as u32 * MAX_MEMBER_LINES as u32;
        [start + home, start + spare]
    }

    /// The four bits after a level's.
    #[inline(always)]
    const fn place(&self, level: u32) -> u32 {
        let [high, low] = self.halves;
        let half = if level < 16 { high } else { low };
        (half >> (60 - level % 16 * 4)) as u32 & 15
    }

    /// What a level's block says of the address: a ceiling plus one, or 0.
    #[inline(always)]
    #[must_use]
    pub const fn ceiling(&self, level: u32, ceilings: u64) -> u32 {
        (ceilings >> (self.place(level) * 4)) as u32 & 15
    }
}

impl BlockKey {
    #[inline(always)]
    const fn mixed(&self) -> u64 {
        let [high, low] = self.prefix;
        let mixed = high
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(low.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(self.scope.wrapping_mul(0x94d0_49bb_1331_11eb));
        (mixed ^ mixed >> 29).wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Numbers in a half of the line that it belongs to, and of its spare line.
    #[inline(always)]
    const fn lines(&self) -> [u32; 2] {
        const LINE_MASK: u32 = MAX_MEMBER_LINES as u32 - 1;
        let mixed = self.mixed();
        [(mixed >> 32) as u32 & LINE_MASK, (mixed >> 8) as u32 & LINE_MASK]
    }

    #[inline(always)]
    const fn hint(&self) -> u32 {
        let key = Self { scope: self.scope & !PORT, ..*self };
        (key.mixed() >> 40) as u32 & (MAX_MEMBER_HINTS as u32 - 1)
    }
}

impl MemberLine {
    /// The ceilings of a block, or 0 when it is not here.
    #[inline(always)]
    #[must_use]
    pub const fn find(&self, key: &BlockKey) -> u64 {
        let [first, second] = &self.0;
        if first.key.scope & !SPILLED == key.scope && same(&first.key, key) {
            return first.ceilings;
        }
        if second.key.scope == key.scope && same(&second.key, key) { second.ceilings } else { 0 }
    }

    /// Whether a block that belongs here is in its spare line.
    #[inline(always)]
    #[must_use]
    pub const fn has_spilled(&self) -> bool {
        self.0[0].key.scope & SPILLED != 0
    }
}

#[inline(always)]
const fn same(a: &BlockKey, b: &BlockKey) -> bool {
    a.prefix[0] == b.prefix[0] && a.prefix[1] == b.prefix[1]
}

#[cfg(any(test, feature = "user"))]
pub use self::user::{Full, Members};

#[cfg(any(test, feature = "user"))]
mod user {
    use super::*;
    use crate::{limits::MAX_PRIORITY, member::MemberKey};

    /// No room for a block, whatever others are moved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Full;

    /// What becomes one half of the table.
    #[derive(Clone, Debug)]
    pub struct Members {
        lines: Vec<MemberLine>,
        hints: Vec<MemberHint>,
        levels: Vec<MemberLevels>,
    }

    impl Default for Members {
        fn default() -> Self {
            Self {
                lines: vec![MemberLine::default(); MAX_MEMBER_LINES],
                hints: vec![MemberHint::default(); MAX_MEMBER_HINTS],
                levels: vec![MemberLevels::default(); MAX_SERVICES],
            }
        }
    }

    impl Members {
        /// [`MAX_MEMBER_LINES`] of them.
        #[must_use]
        pub fn lines(&self) -> &[MemberLine] {
            &self.lines
        }

        /// [`MAX_MEMBER_HINTS`] of them.
        #[must_use]
        pub fn hints(&self) -> &[MemberHint] {
            &self.hints
        }

        /// By configured service.
        #[must_use]
        pub fn levels(&self) -> &[MemberLevels] {
            &self.levels
        }

        /// Writes a rule. Rules of a service come in order of their prefixes' lengths, shortest first: a later one is written
        /// over a shorter one that it is part of.
        ///
        /// # Errors
        /// [`Full`], with this rule not written.
        pub fn insert(&mut self, key: &MemberKey, ceiling: u8) -> Result<(), Full> {
            let bits = u32::from(key.prefix_bits);
            let level = bits.saturating_sub(1) / 4;
            let search = Search::new(key.scope, key.port_be, key.address);
            let block = block_mut(&mut self.lines, search.key(level))?;
            let expanded = 1_u32 << (level * 4 + 4 - bits);
            let start = search.place(level) & !(expanded - 1);
            for place in start..start + expanded {
                block.ceilings &= !(15 << (place * 4));
                block.ceilings |= (u64::from(ceiling.min(MAX_PRIORITY)) + 1) << (place * 4);
            }
            note(&mut self.hints, block);
            self.levels[usize::from(key.scope.owner) % MAX_SERVICES].add(key, level);
            Ok(())
        }
    }

    /// Notes a block in the hints of the groups that it is for.
    fn note(hints: &mut [MemberHint], block: &MemberBlock) {
        let key = BlockKey { scope: block.key.scope & !SPILLED, ..block.key };
        let level = (key.scope & 0xff) as u32;
        // Prefixes of IPv6 addresses that long are not mapped, whatever their first bits.
        let is_ipv4 = level >= 24 && key.prefix[0] == 0 && key.prefix[1] >> (level * 4 - 96) == 0xffff;
        let group = group_level(is_ipv4);
        if key.scope & IN_USE == 0 || level + 1 < group {
            return;
        }
        for place in 0..16 {
            if block.ceilings >> (place * 4) & 15 != 0 {
                let of_group = key.cut(level, place, group);
                let hint = &mut hints[of_group.hint() as usize].levels[usize::from(key.scope & PORT != 0)];
                *hint = hint.and(Levels::of(level));
            }
        }
    }

    impl BlockKey {
        /// The key at a shorter level, or the next longer one, of an address in this block with these four bits next.
        fn cut(&self, level: u32, place: u64, to: u32) -> Self {
            let [high, low] = self.prefix;
            let bits = |level: u32| if level < 16 { level * 4 } else { level * 4 - 64 };
            let extended = |half: u64| half << 4 | place;
            let scope = self.scope & !0xff | u64::from(to);
            let prefix = if to < 16 && level >= 16 {
                [high >> (64 - bits(to)), 0]
            } else if to < 16 {
                [extended(high) >> (bits(level) + 4 - bits(to)), 0]
            } else {
                [high, extended(low) >> (bits(level) + 4 - bits(to))]
            };
            Self { prefix, scope }
        }
    }

    /// Moves at most, until a new block has a place.
    const MAX_MOVES: u32 = 10;

    /// Where a block is: line and number.
    type Place = (usize, usize);

    fn lines_of(key: &BlockKey) -> [usize; 2] {
        key.lines().map(|line| line as usize)
    }

    fn find(lines: &[MemberLine], key: &BlockKey) -> Option<Place> {
        let holds = |block: &MemberBlock| block.key.scope & !SPILLED == key.scope && same(&block.key, key);
        let places = lines_of(key).into_iter().flat_map(|line| [(line, 0), (line, 1)]);
        places.into_iter().find(|(line, block)| holds(&lines[*line].0[*block]))
    }

    /// The block of a key, a new one if there is none.
    fn block_mut(lines: &mut [MemberLine], key: BlockKey) -> Result<&mut MemberBlock, Full> {
        let place = match find(lines, &key) {
            Some(place) => place,
            None => {
                let ways = (0..=MAX_MOVES).flat_map(|moves| lines_of(&key).map(|line| (moves, line)));
                let place =
                    ways.into_iter().find_map(|(moves, line)| make_room(lines, line, moves)).ok_or(Full)?;
                put(lines, place, MemberBlock { key, ceilings: 0 });
                place
            }
        };
        Ok(&mut lines[place.0].0[place.1])
    }

    /// A place in a line that may be written over, after at most so many moves of blocks to their other lines (cuckoo hashing).
    /// The fewest that do are tried first, so no line is met twice.
    fn make_room(lines: &mut [MemberLine], line: usize, moves: u32) -> Option<Place> {
        let blocks = lines[line].0;
        if let Some(empty) = blocks.iter().position(|block| block.key.scope & IN_USE == 0) {
            return Some((line, empty));
        }
        let moves = moves.checked_sub(1)?;
        blocks.into_iter().enumerate().find_map(|(number, mut block)| {
            block.key.scope &= !SPILLED;
            let other = lines_of(&block.key).into_iter().find(|other| *other != line)?;
            let to = make_room(lines, other, moves)?;
            put(lines, to, block);
            Some((line, number))
        })
    }

    fn put(lines: &mut [MemberLine], (line, number): Place, block: MemberBlock) {
        let [home, _] = lines_of(&block.key);
        if line != home {
            lines[home].0[0].key.scope |= SPILLED;
        }
        let place = &mut lines[line].0[number];
        let spilled = place.key.scope & SPILLED;
        *place = block;
        place.key.scope |= spilled;
    }

    impl Levels {
        const fn of(level: u32) -> Self {
            Self(1 << (LEVELS - 1 - level))
        }
    }

    impl MemberLevels {
        /// Notes a level that has no hints, for the families that a rule may be for.
        fn add(&mut self, key: &MemberKey, level: u32) {
            let bits = u32::from(key.prefix_bits);
            let is_ipv4 = key.address.is_ipv4() && bits >= 96;
            let number =
                |address: Address| u128::from_be_bytes(octets(address)).checked_shr(128 - bits).unwrap_or(0);
            let covers_ipv4 = bits <= 96 && number(key.address) == number(Address::from_ipv4_be(0));
            let [ipv4, ipv6] = &mut self.levels[usize::from(key.port_be != 0)];
            if (is_ipv4 || covers_ipv4) && level + 1 < group_level(true) {
                *ipv4 = ipv4.and(Levels::of(level));
            }
            if (!is_ipv4 || covers_ipv4) && level + 1 < group_level(false) {
                *ipv6 = ipv6.and(Levels::of(level));
            }
        }
    }

    fn octets(address: Address) -> [u8; 16] {
        let [high, low] = address.halves();
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&high.to_ne_bytes());
        octets[8..].copy_from_slice(&low.to_ne_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::member::{ANY_PORT, MemberKey};

    const SCOPE: Scope = Scope { owner: 3, generation: 8 };

    /// As the program looks up.
    fn look_up(members: &Members, port_be: u16, client: Address) -> Option<u8> {
        let search = Search::new(SCOPE, port_be, client);
        let with_port = port_be != ANY_PORT;
        let levels = members.levels()[usize::from(SCOPE.owner)].of(&client, with_port);
        let mut left = levels.and(members.hints()[search.hint() as usize].levels(with_port));
        while let Some((level, rest)) = left.split() {
            left = rest;
            let key = search.key(level);
            let [home, spare] = search.lines(&key).map(|line| &members.lines()[line as usize]);
            let mut ceilings = home.find(&key);
            if ceilings == 0 && home.has_spilled() {
                ceilings = spare.find(&key);
            }
            match search.ceiling(level, ceilings) {
                0 => {}
                ceiling => return Some(ceiling as u8 - 1),
            }
        }
        None
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
            (
                search.lines(&search.key(3))[0] as usize / MAX_MEMBER_LINES,
                search.hint() as usize / MAX_MEMBER_HINTS,
            )
        });
        assert_eq!(starts, [(0, 0), (1, 1)]);
    }
}

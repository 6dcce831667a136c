//! The member-table as the control plane writes it: one half of it, made from rules.

use core::cmp::Reverse;

use super::{BlockKey, IN_USE, Levels, MemberBlock, MemberLevels, MemberLine, SPILLED, Search, same};
use crate::{
    address::Address,
    limits::{MAX_MEMBER_LINES, MAX_MEMBER_MARKS, MAX_PRIORITY, MAX_SERVICES},
    member::MemberKey,
};

/// No room for a block, whatever others are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What becomes one half of the table.
#[derive(Clone, Debug)]
pub struct Members {
    lines: Vec<MemberLine>,
    marks: Vec<u64>,
    levels: Vec<MemberLevels>,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            lines: vec![MemberLine::default(); MAX_MEMBER_LINES],
            marks: vec![0; MAX_MEMBER_MARKS],
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

    /// [`MAX_MEMBER_MARKS`] of them.
    #[must_use]
    pub fn marks(&self) -> &[u64] {
        &self.marks
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
        self.mark(&search.key(level));
        if search.has_port() {
            self.mark(&search.port_key());
        }
        self.levels[usize::from(key.scope.owner) % MAX_SERVICES].add(key, level);
        Ok(())
    }

    fn mark(&mut self, key: &BlockKey) {
        self.marks[key.marks() as usize] |= key.mark();
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

impl MemberLevels {
    /// Notes the level of a rule, for the families that it may be for.
    fn add(&mut self, key: &MemberKey, level: u32) {
        let bits = u32::from(key.prefix_bits);
        let is_ipv4 = key.address.is_ipv4() && bits >= 96;
        let number =
            |address: Address| u128::from_be_bytes(octets(address)).checked_shr(128 - bits).unwrap_or(0);
        let covers_ipv4 = bits < 96 && number(key.address) == number(Address::from_ipv4_be(0));
        let [ipv4, ipv6] = &mut self.levels[usize::from(key.port_be != 0)];
        if is_ipv4 || covers_ipv4 {
            note(ipv4, level);
        }
        if !is_ipv4 {
            note(ipv6, level);
        }
    }
}

fn note(levels: &mut Levels, level: u32) {
    let entry = level as u8 + 1;
    if !levels.contains(&entry) {
        // There are as many places as levels, so the last one is free.
        levels[levels.len() - 1] = entry;
        levels.sort_unstable_by_key(|entry| Reverse(*entry));
    }
}

fn octets(address: Address) -> [u8; 16] {
    let [high, low] = address.halves();
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&high.to_ne_bytes());
    octets[8..].copy_from_slice(&low.to_ne_bytes());
    octets
}

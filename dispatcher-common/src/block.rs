//! How the member-table lies in memory, for a look-up of one cache miss: prefixes in blocks of sixteen, blocks in a hash table
//! of lines. The kernel's own longest-prefix trie visits some twenty nodes for 100 000 rules, each of them a miss.
//!
//! A block holds the prefixes of one to four bits after an address's first 4·n, expanded to four bits; n is its level. A look-up
//! tries the levels that its service's rules have, longest first. Nearly all of the blocks that it tries do not exist, and marks
//! say so: a Bloom filter, small enough to stay in a cache near the CPU while the lines are far away.
//!
//! The table has two halves. Services refer to one of them by the generation of their rules; other rules are written to the other
//! half as a whole, while nobody looks there.

use crate::{
    address::Address,
    limits::{MAX_MEMBER_LINES, MAX_MEMBER_MARKS, MAX_SERVICES},
    member::Scope,
};

/// Levels of an address: one for each four bits.
const LEVELS: u32 = 32;

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
struct BlockKey {
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

/// Levels that rules have: each plus one, the longest first, and zeroes after them.
type Levels = [u8; LEVELS as usize];

/// Levels of a service's rules in one half.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberLevels {
    /// Without a port and with one; for mapped IPv4 addresses and for IPv6.
    levels: [[Levels; 2]; 2],
}

const _: () = assert!(size_of::<MemberLevels>() == 128);
const _: () = assert!(MAX_MEMBER_MARKS.is_power_of_two());

impl MemberLevels {
    /// Index in the map.
    #[inline(always)]
    #[must_use]
    pub const fn index(scope: Scope) -> u32 {
        half(scope) * MAX_SERVICES as u32 + scope.owner as u32
    }

    /// The levels to try.
    #[inline(always)]
    fn of(&self, search: &Search) -> &Levels {
        let [any, port] = &self.levels;
        let [ipv4, ipv6] = if search.has_port() { port } else { any };
        if search.is_ipv4() { ipv4 } else { ipv6 }
    }
}

/// The half of the table that a generation of rules is in.
#[inline(always)]
#[must_use]
pub const fn half(scope: Scope) -> u32 {
    scope.generation as u32 & 1
}

/// An address whose blocks are looked for.
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

    #[inline(always)]
    const fn has_port(&self) -> bool {
        self.scope & PORT != 0
    }

    #[inline(always)]
    const fn is_ipv4(&self) -> bool {
        let [high, low] = self.halves;
        high == 0 && low >> 32 == 0xffff
    }

    /// A key of no block, marked if any rule is for the port: one look saves one at each level.
    #[inline(always)]
    const fn port_key(&self) -> BlockKey {
        BlockKey { prefix: [0; 2], scope: self.scope | LEVELS as u64 }
    }

    /// The key of its block at a level.
    #[inline(always)]
    const fn key(&self, level: u32) -> BlockKey {
        let [high, low] = self.halves;
        let (half, bits) = if level < 16 { (high, level * 4) } else { (low, level * 4 - 64) };
        // Of 64 bits less so many, in two steps: none of 64 is no shift by 64.
        let first = half >> 1 >> (63 - bits);
        let prefix = if level < 16 { [first, 0] } else { [high, first] };
        BlockKey { prefix, scope: self.scope | level as u64 }
    }

    /// A ceiling plus one, or 0 if no rule is for the address; `marks` and `lines` give what is in the maps at an index.
    #[inline(always)]
    pub fn look_up<'a>(
        &self,
        levels: &MemberLevels,
        marks: impl Fn(u32) -> u64,
        lines: impl Fn(u32) -> Option<&'a MemberLine>,
    ) -> u32 {
        let is_marked = |key: &BlockKey| {
            let mark = key.mark();
            marks(self.half as u32 * MAX_MEMBER_MARKS as u32 + key.marks()) & mark == mark
        };
        if self.has_port() && !is_marked(&self.port_key()) {
            return 0;
        }
        for level in levels.of(self) {
            let Some(level) = level.checked_sub(1) else { break };
            let level = level as u32 % LEVELS;
            let key = self.key(level);
            if is_marked(&key) {
                let ceiling = self.ceiling(level, self.find(&key, &lines));
                if ceiling != 0 {
                    return ceiling;
                }
            }
        }
        0
    }

    /// The ceilings of a block, or 0.
    #[inline(always)]
    fn find<'a>(&self, key: &BlockKey, lines: &impl Fn(u32) -> Option<&'a MemberLine>) -> u64 {
        let [home, spare] = self.lines(key);
        let Some(home) = lines(home) else { return 0 };
        let ceilings = home.find(key);
        if ceilings != 0 || !home.has_spilled() {
            return ceilings;
        }
        lines(spare).map_or(0, |spare| spare.find(key))
    }

    /// Indices in the map of the line that a block belongs to, and of its spare line.
    #[inline(always)]
    const fn lines(&self, key: &BlockKey) -> [u32; 2] {
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
    const fn ceiling(&self, level: u32, ceilings: u64) -> u32 {
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

    /// Number in a half of the word with its marks.
    #[inline(always)]
    const fn marks(&self) -> u32 {
        (self.mixed() >> 48) as u32 & (MAX_MEMBER_MARKS as u32 - 1)
    }

    /// Its marks in that word: of two bits, both are there by chance for one key in a hundred.
    #[inline(always)]
    const fn mark(&self) -> u64 {
        let mixed = self.mixed();
        1 << (mixed >> 24 & 63) | 1 << (mixed >> 36 & 63)
    }
}

impl MemberLine {
    /// The ceilings of a block, or 0 when it is not here.
    #[inline(always)]
    const fn find(&self, key: &BlockKey) -> u64 {
        let [first, second] = &self.0;
        if first.key.scope & !SPILLED == key.scope && same(&first.key, key) {
            return first.ceilings;
        }
        if second.key.scope == key.scope && same(&second.key, key) { second.ceilings } else { 0 }
    }

    /// Whether a block that belongs here is in its spare line.
    #[inline(always)]
    const fn has_spilled(&self) -> bool {
        self.0[0].key.scope & SPILLED != 0
    }
}

#[inline(always)]
const fn same(a: &BlockKey, b: &BlockKey) -> bool {
    a.prefix[0] == b.prefix[0] && a.prefix[1] == b.prefix[1]
}

#[cfg(any(test, feature = "user"))]
pub use self::members::{Full, Members};

#[cfg(any(test, feature = "user"))]
mod members;
#[cfg(test)]
mod tests;

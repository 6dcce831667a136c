//! The running kernel's type information (BTF): ids of functions and where the members of structures lie.
//!
//! aya's own reader keeps types to itself and the published one is LGPL, so this reads the format: see "BPF Type Format" in
//! the kernel's documentation. Only what the kernel itself says about itself is read, no other object.

use std::{fs, io};

use thiserror::Error;

const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const STRUCT: u8 = 4;
const UNION: u8 = 5;
const TYPEDEF: u8 = 8;
const FUNCTION: u8 = 12;

/// Anonymous members that contain each other; the kernel has at most four levels.
const MAX_DEPTH: u32 = 16;

/// The kernel's types cannot be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// For the operator: the kernel was built without.
    #[error("cannot read {PATH}: {0}; run a kernel with CONFIG_DEBUG_INFO_BTF=y")]
    Absent(#[source] io::Error),
    /// From the kernel, unexpected.
    #[error("{PATH} is damaged near byte {0}; report this with the kernel's version")]
    Damaged(usize),
    /// From the kernel, unexpected: a future kernel has other structures.
    #[error("the running kernel's struct {0} has no readable member {1}; look for a newer dispatcher")]
    NoMember(&'static str, &'static str),
}

/// Types of the running kernel.
#[derive(Debug)]
pub struct KernelTypes {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type begins, from type 1 on.
    types: Vec<usize>,
}

/// The fixed part of a type and where the rest begins.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    kind: u8,
    /// Members, parameters or values.
    count: usize,
    /// Members say their offset together with a bit size.
    has_bit_sizes: bool,
    rest: usize,
}

/// Where a member lies in its structure, and what it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset_bits: u32,
    type_id: u32,
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug)]
struct Member {
    name: u32,
    type_id: u32,
    offset_bits: u32,
    is_bitfield: bool,
}

impl KernelTypes {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// When the kernel offers none.
    pub fn read() -> Result<Self, BtfError> {
        Self::parse(fs::read(PATH).map_err(BtfError::Absent)?)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if u16_at(&bytes, 0) != Some(MAGIC) {
            return Err(BtfError::Damaged(0));
        }
        let field = |at| u32_at(&bytes, at).map(|value| value as usize).ok_or(BtfError::Damaged(at));
        let body = field(4)?;
        let (first, end) = (body + field(8)?, body + field(8)? + field(12)?);
        let strings = body + field(16)?;
        let mut types = Vec::new();
        let mut at = first;
        while at < end {
            let header = type_at(&bytes, at).ok_or(BtfError::Damaged(at))?;
            types.push(at);
            at = header.rest + rest_len(&header).ok_or(BtfError::Damaged(at))?;
        }
        Ok(Self { bytes, strings, types })
    }

    /// Id of a function, if the kernel has it.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.find(name, |kind| kind == FUNCTION).map(|(id, _)| id)
    }

    /// Offset of a member in bytes, also of one that lies in anonymous structures and unions; `a.b` is a member of a member.
    /// None for bit-fields.
    #[must_use]
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let (_, mut outer) = self.find(structure, |kind| kind == STRUCT)?;
        let mut names = member.split('.').peekable();
        let mut bits = 0;
        while let Some(name) = names.next() {
            let place = self.search(outer, name, MAX_DEPTH)?;
            bits += place.offset_bits;
            if names.peek().is_some() {
                outer = self.structure(place.type_id)?;
            }
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// The same for a member that every kernel has.
    ///
    /// # Errors
    /// When this one has not.
    pub fn require(&self, structure: &'static str, member: &'static str) -> Result<u32, BtfError> {
        self.member_offset(structure, member).ok_or(BtfError::NoMember(structure, member))
    }

    fn find(&self, name: &str, is_wanted: impl Fn(u8) -> bool) -> Option<(u32, Type)> {
        (1..).zip(&self.types).find_map(|(id, at)| {
            let found = type_at(&self.bytes, *at)?;
            (is_wanted(found.kind) && self.is_named(found.name, name)).then_some((id, found))
        })
    }

    /// The structure or union of a number, also under another name.
    fn structure(&self, id: u32) -> Option<Type> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let at = *self.types.get((id as usize).checked_sub(1)?)?;
            let found = type_at(&self.bytes, at)?;
            match found.kind {
                STRUCT | UNION => return Some(found),
                TYPEDEF => id = u32_at(&self.bytes, at + 8)?,
                _ => return None,
            }
        }
        None
    }

    fn search(&self, outer: Type, wanted: &str, depth: u32) -> Option<Place> {
        let depth = depth.checked_sub(1)?;
        (0..outer.count).find_map(|index| {
            let member = member_at(&self.bytes, &outer, index)?;
            if self.is_named(member.name, wanted) {
                let Member { offset_bits, type_id, is_bitfield, .. } = member;
                return (!is_bitfield).then_some(Place { offset_bits, type_id });
            }
            if !self.is_named(member.name, "") {
                return None;
            }
            let found = self.search(self.structure(member.type_id)?, wanted, depth)?;
            Some(Place { offset_bits: member.offset_bits + found.offset_bits, ..found })
        })
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let Some(rest) = self.bytes.get(self.strings + offset as usize..) else { return false };
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn type_at(bytes: &[u8], at: usize) -> Option<Type> {
    let info = u32_at(bytes, at + 4)?;
    Some(Type {
        name: u32_at(bytes, at)?,
        kind: (info >> 24 & 0x1f) as u8,
        count: (info & 0xffff) as usize,
        has_bit_sizes: info >> 31 != 0,
        rest: at + 12,
    })
}

/// Bytes after the fixed part; none for a kind that did not exist when this was written.
fn rest_len(header: &Type) -> Option<usize> {
    match header.kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => Some(4),
        // Array.
        3 => Some(12),
        // Structure, union, data section, 64-bit enumeration.
        STRUCT | UNION | 15 | 19 => Some(header.count * 12),
        // Enumeration, function prototype.
        6 | 13 => Some(header.count * 8),
        _ => None,
    }
}

fn member_at(bytes: &[u8], outer: &Type, index: usize) -> Option<Member> {
    let at = outer.rest + index * 12;
    let offset = u32_at(bytes, at + 8)?;
    let (offset_bits, bit_size) =
        if outer.has_bit_sizes { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
    Some(Member {
        name: u32_at(bytes, at)?,
        type_id: u32_at(bytes, at + 4)?,
        offset_bits,
        is_bitfield: bit_size != 0,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u32 = 1 << 24;

    fn structure(count: u32, kind: u8, has_bit_sizes: bool) -> u32 {
        count | u32::from(kind) << 24 | u32::from(has_bit_sizes) << 31
    }

    /// Types: 1 `int`, 2 an anonymous union of `int inner`, 3 `struct outer { int first; union 2; int flag : 3 }`, 4 `void run()`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0inner\0outer\0first\0flag\0run\0";
        let name = |text: &[u8]| strings.windows(text.len()).position(|part| part == text).unwrap() as u32;
        let words = [
            &[name(b"int\0"), INT, 4, 32][..],
            &[0, structure(1, UNION, false), 4, name(b"inner\0"), 1, 0],
            &[name(b"outer\0"), structure(3, STRUCT, true), 12],
            &[name(b"first\0"), 1, 0, 0, 2, 64, name(b"flag\0"), 1, 3 << 24 | 96],
            &[name(b"run\0"), structure(0, FUNCTION, false), 0],
        ]
        .concat();
        let types_len = words.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, types_len, types_len, strings.len() as u32];
        let bytes = header.iter().chain(&words).flat_map(|word| word.to_le_bytes());
        bytes.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_are_found_in_anonymous_unions_too() {
        let types = KernelTypes::parse(sample()).unwrap();
        assert_eq!(types.member_offset("outer", "first"), Some(0));
        assert_eq!(types.member_offset("outer", "inner"), Some(8));
        assert_eq!(types.member_offset("outer", "flag"), None, "a bit-field has no byte");
        assert_eq!(types.member_offset("outer", "absent"), None);
        assert_eq!(types.member_offset("absent", "first"), None);
        assert_eq!(types.function_id("run"), Some(4));
        assert_eq!(types.function_id("outer"), None, "not a function");
    }

    #[test]
    fn damaged_types_are_refused() {
        assert!(KernelTypes::parse(vec![0; 64]).is_err());
        let whole = sample();
        for len in 0..100 {
            assert!(KernelTypes::parse(whole[..len].to_vec()).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_missing_member_names_itself() {
        let types = KernelTypes::parse(sample()).unwrap();
        let message = types.require("tcp_sock", "rcv_nxt").unwrap_err().to_string();
        assert!(message.contains("struct tcp_sock has no readable member rcv_nxt"), "{message}");
    }

    #[test]
    fn the_running_kernel_has_what_a_server_needs() {
        let Ok(types) = KernelTypes::read() else {
            eprintln!("skipped: {PATH} cannot be read");
            return;
        };
        let offset = types.require("sock_common", "skc_tw_rcv_nxt").unwrap();
        assert!(offset > 0 && offset < 200, "{offset}");
        assert!(types.require("tcp_sock", "rcv_nxt").unwrap() > offset);
        let lock = types.require("sock", "sk_lock").unwrap();
        assert!(types.require("sock", "sk_lock.owned").unwrap() > lock, "of a structure under another name");
        assert_eq!(types.member_offset("sock", "sk_lock.absent"), None);
        assert_eq!(types.member_offset("sock", "sk_refcnt.owned"), None);
        assert!(types.function_id("tcp_v4_rcv").is_some());
    }
}

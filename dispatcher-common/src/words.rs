//! Text by words of eight bytes: where the first byte of a kind is, found without looking at each byte. The scans of heads are
//! made of this; what the bytes mean is theirs.

/// Bytes of a word.
pub const WORD: usize = size_of::<u64>();

/// Words that are looked at together.
pub const BLOCK: usize = 4;

/// Bytes as little-endian words.
pub trait Words {
    /// The word at an offset; zeroes stand for what is after the end. `None` where there is nothing more.
    fn word(&self, at: u64) -> Option<u64>;

    /// Some words at an offset, if there are as many.
    fn block(&self, at: u64) -> Option<[u64; BLOCK]>;
}

/// A one in each byte.
pub(crate) const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGH: u64 = 0x80 * ONES;
/// What makes letters lower case.
pub(crate) const LOWER: u64 = 0x20 * ONES;

/// The first byte that a mask with [`HIGH`] bits marks.
pub(crate) struct First {
    /// All bits of the bytes before it.
    pub(crate) below: u64,
    /// How many bytes are before it.
    pub(crate) count: u64,
}

impl First {
    /// Of a mask that is not zero.
    #[inline(always)]
    pub(crate) const fn of(mask: u64) -> Self {
        let below = ((mask & mask.wrapping_neg()) >> 7).wrapping_sub(1);
        Self { below, count: (below & ONES).wrapping_mul(ONES) >> 56 }
    }

    #[inline(always)]
    pub(crate) const fn byte(&self, word: u64) -> u8 {
        (word >> ((8 * self.count) & 63)) as u8
    }
}

/// Marks zero bytes; after the first, others may be marked, too.
#[inline(always)]
pub(crate) const fn zeroes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Marks one byte's places; after the first, others may be marked, too.
#[inline(always)]
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    zeroes(word ^ (byte as u64 * ONES))
}

/// Marks decimal digits; after the first byte that is none, others may be marked wrongly.
#[inline(always)]
pub(crate) const fn digits(word: u64) -> u64 {
    from(word, b'0') & !from(word, b'9' + 1) & !word & HIGH
}

/// Marks hexadecimal digits; after the first byte that is none, others may be marked wrongly.
#[inline(always)]
pub(crate) const fn hex_digits(word: u64) -> u64 {
    let lower = word | LOWER;
    digits(word) | from(lower, b'a') & !from(lower, b'f' + 1) & !word & HIGH
}

/// Marks control characters; after the first, others may be marked, too.
#[inline(always)]
pub(crate) const fn controls(word: u64) -> u64 {
    const DELETE: u64 = 0x7f * ONES;
    word.wrapping_sub(0x20 * ONES) & !word & HIGH | zeroes(word ^ DELETE)
}

/// Marks letters, digits, dashes and dots: what field names are made of, and all of them tokens. After the first byte that is
/// none, others may be marked wrongly.
#[inline(always)]
pub(crate) const fn names(word: u64) -> u64 {
    let lower = word | LOWER;
    let letters = from(lower, b'a') & !from(lower, b'z' + 1);
    let others = from(word, b'-') & !from(word, b'9' + 1) & !zeroes(word ^ (b'/' as u64 * ONES));
    (letters | others) & !word
}

/// Marks bytes from one on, if none is above 0x7f.
#[inline(always)]
pub(crate) const fn from(word: u64, byte: u8) -> u64 {
    word.wrapping_add((0x80 - byte as u64) * ONES)
}

/// Bytes of user space.
#[derive(Debug)]
pub(crate) struct Slice<'a>(pub(crate) &'a [u8]);

impl Words for Slice<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        let rest = self.0.get(at as usize..).filter(|rest| !rest.is_empty())?;
        let mut word = [0; WORD];
        let len = rest.len().min(WORD);
        word[..len].copy_from_slice(&rest[..len]);
        Some(u64::from_le_bytes(word))
    }

    fn block(&self, at: u64) -> Option<[u64; BLOCK]> {
        let (words, _) = self.0.get(at as usize..)?.as_chunks::<WORD>();
        let words = words.first_chunk::<BLOCK>()?;
        Some(words.map(u64::from_le_bytes))
    }
}

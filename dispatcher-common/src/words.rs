//! Text by words of eight bytes: where the first byte of a kind is, found without looking at each byte. The scans of heads are
//! made of this; what the bytes mean is theirs.

/// Bytes of a word.
pub const WORD: usize = size_of::<u64>();

/// Words that are looked at together.
pub const BLOCK: usize = 4;

/// Bytes as little-endian words.
pub trait Words {
    /// The word at an offset that is not behind the end; zeroes stand for what is after it. At the end itself zeroes or `None`.
    fn word(&self, at: u64) -> Option<u64>;

    /// Some words at an offset, if there are as many; zeroes may stand for what is after the end.
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
    below_or_delete(word, b' ') & HIGH
}

/// Marks what ends a field's name: a colon, a space, or a control character; after the first, others may be marked, too.
#[inline(always)]
pub(crate) const fn name_ends(word: u64) -> u64 {
    let from_colon = word ^ (b':' as u64 * ONES);
    (below_or_delete(word, b' ' + 1) | from_colon.wrapping_sub(ONES) & !from_colon) & HIGH
}

/// Marks bytes below one, and deletes, in [`HIGH`] bits; other bits mean nothing. After the first, others may be marked, too.
#[inline(always)]
const fn below_or_delete(word: u64, byte: u8) -> u64 {
    let below = word.wrapping_sub(byte as u64 * ONES);
    // Carries nothing from byte to byte.
    let deletes = (word & !HIGH) + ONES;
    (below | deletes) & !word
}

/// A part of a field's value that was passed.
pub(crate) struct Passed {
    /// Offset of what comes next.
    pub(crate) at: u64,
    /// Whether that is the CR at the value's end.
    pub(crate) ends: bool,
}

/// Passes a value as far as its CR, a tab, or a block. `None` where it has another control character.
#[inline(always)]
pub(crate) fn pass_value(words: &impl Words, at: u64) -> Option<Passed> {
    let Some([a, b, c, d]) = words.block(at) else { return pass_short_value(words, at) };
    let of = |word, controls, at| end_value(word, First::of(controls), at);
    let [of_a, of_b, of_c, of_d] = [controls(a), controls(b), controls(c), controls(d)];
    const LEN: u64 = WORD as u64;
    if of_a != 0 {
        of(a, of_a, at)
    } else if of_b != 0 {
        of(b, of_b, at + LEN)
    } else if of_c != 0 {
        of(c, of_c, at + 2 * LEN)
    } else if of_d != 0 {
        of(d, of_d, at + 3 * LEN)
    } else {
        Some(Passed { at: at + 4 * LEN, ends: false })
    }
}

/// The same where there is no whole block any more.
#[inline(always)]
fn pass_short_value(words: &impl Words, mut at: u64) -> Option<Passed> {
    for _ in 0..BLOCK {
        let word = words.word(at)?;
        let controls = controls(word);
        if controls != 0 {
            return end_value(word, First::of(controls), at);
        }
        at += WORD as u64;
    }
    Some(Passed { at, ends: false })
}

/// At the first control character of a word.
#[inline(always)]
const fn end_value(word: u64, first: First, at: u64) -> Option<Passed> {
    let at = at + first.count;
    match first.byte(word) {
        b'\r' => Some(Passed { at, ends: true }),
        b'\t' => Some(Passed { at: at + 1, ends: false }),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which those that matter are frequent.
    fn word() -> impl Strategy<Value = u64> {
        let matters =
            prop::sample::select(vec![0, b'\t', b'\r', 0x1f, b' ', b'!', b':', b'~', 0x7f, 0x80, 0xff]);
        prop::array::uniform8(prop_oneof![matters, any::<u8>(), b'a'..=b'z']).prop_map(u64::from_le_bytes)
    }

    fn first(mask: u64) -> Option<u64> {
        (mask != 0).then(|| First::of(mask).count)
    }

    fn position(word: u64, is_meant: impl Fn(&u8) -> bool) -> Option<u64> {
        word.to_le_bytes().iter().position(is_meant).map(|place| place as u64)
    }

    /// What [`pass_value`] finds, byte by byte.
    fn end_of_value(bytes: &[u8]) -> Option<usize> {
        let place = bytes.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t')?;
        (bytes[place] == b'\r').then_some(place)
    }

    proptest! {
        #[test]
        fn the_first_control_character_is_found(word in word()) {
            prop_assert_eq!(first(controls(word)), position(word, u8::is_ascii_control));
        }

        #[test]
        fn the_end_of_a_name_is_found(word in word()) {
            let ends = |byte: &u8| byte.is_ascii_control() || matches!(byte, b':' | b' ');
            prop_assert_eq!(first(name_ends(word)), position(word, ends));
        }

        #[test]
        fn values_end_at_their_cr(words in prop::collection::vec(word(), 0..12), rest in 0_usize..8) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let bytes = &bytes[..bytes.len().saturating_sub(rest)];
            let mut passed = Some(Passed { at: 0, ends: false });
            while let Some(Passed { at, ends: false }) = passed {
                passed = pass_value(&Slice(bytes), at);
            }
            prop_assert_eq!(passed.map(|passed| passed.at as usize), end_of_value(bytes));
        }
    }
}

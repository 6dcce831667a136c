//! The scan of a response's head, and of a chunk's: where it ends and how much body it announces (RFC 9112 sections 6 and 7.1).
//! A server's program runs it over what the server sends, line by line.
//!
//! It accepts only what every client must understand alike. Anything else is unusual, and then nobody tells where the response
//! ends. How one response follows the other is [`response_walk`](crate::response_walk)'s.

use crate::{
    head_scan::Step,
    words::{First, HIGH, LOWER, ONES, WORD, Words, digits, hex_digits, name_ends, pass_value},
};

/// Longest head in bytes that is looked at.
pub const MAX_HEAD: usize = 2048;

/// Longest chunk head in bytes that is looked at: eight digits and two line ends.
pub const MAX_CHUNK_HEAD: usize = 12;

/// Longest body or chunk in bytes: its end and the end of what is around it are still after its beginning (2^31).
const MAX_LEN: u64 = 0x7fff_0000;

/// What follows a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The head was an interim one: the response is still to come (RFC 9110 section 15.2).
    Interim,
    /// So many bytes.
    Length(u32),
    Chunked,
    /// Nobody knows.
    Unknown,
}

/// Where the scan is.
mod place {
    pub(super) const STATUS: u32 = 0;
    /// At the CR that ends a line.
    pub(super) const LINE: u32 = 1;
    /// In a field's name.
    pub(super) const NAME: u32 = 2;
    /// In a field's value, or in the reason.
    pub(super) const VALUE: u32 = 3;
}

const HAS_LENGTH: u32 = 1;
const IS_CHUNKED: u32 = 2;

/// Words of a name that are looked at together: most names have less.
const NAME_WORDS: usize = 3;

/// Blocks of a line that are looked at together.
const VALUE_BLOCKS: usize = 2;

const CR: u8 = b'\r';
const SPACE: u8 = b' ';
const CR_LF: u16 = u16::from_le_bytes(*b"\r\n");
const CR_LF_LEN: u64 = 2;

/// A scan under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseScan {
    /// Offset of the next word.
    at: u64,
    /// Where the field's name began, or what follows the status.
    start: u64,
    /// One of [`place`].
    place: u32,
    status: u32,
    /// [`HAS_LENGTH`], [`IS_CHUNKED`].
    framing: u32,
    /// Value of `Content-Length`.
    len: u32,
}

impl ResponseScan {
    /// Starts a scan of the head that begins at offset 0, whatever was scanned before.
    #[inline(always)]
    pub fn start(&mut self) {
        (self.at, self.place, self.framing, self.len) = (0, place::STATUS, 0, 0);
    }

    /// Goes on, as far as so many steps lead: by a line each as long as that is of usual length.
    #[inline(always)]
    pub fn steps(&mut self, most: usize, words: &impl Words) -> Step {
        Step::repeat(most, || self.go_on(words).unwrap_or(Step::Unusual))
    }

    #[inline(always)]
    fn go_on(&mut self, words: &impl Words) -> Option<Step> {
        match self.place {
            place::VALUE => {}
            place::STATUS => self.status(words)?,
            _ => {
                if let Some(step) = self.field(words)? {
                    return Some(step);
                }
            }
        }
        // From the line's beginning, not from its colon: the processor need not know yet where that is.
        let mut at = if self.place == place::VALUE { self.at } else { self.start };
        self.place = place::VALUE;
        for _ in 0..VALUE_BLOCKS {
            let passed = pass_value(words, at)?;
            at = passed.at;
            if passed.ends {
                self.place = place::LINE;
                break;
            }
        }
        self.at = at;
        Some(Step::More)
    }

    /// Bytes of the head, once it has ended.
    #[inline(always)]
    #[must_use]
    pub const fn head_len(&self) -> u32 {
        self.at as u32
    }

    /// What follows, once the head has ended; `is_head` for the response to a `HEAD` (RFC 9112 section 6.3).
    #[inline(always)]
    #[must_use]
    pub const fn body(&self, is_head: bool) -> Body {
        match self.status {
            101 => return Body::Unknown,
            100..=199 => return Body::Interim,
            204 | 304 => return Body::Length(0),
            _ => {}
        }
        if is_head {
            return Body::Length(0);
        }
        match self.framing {
            HAS_LENGTH => Body::Length(self.len),
            IS_CHUNKED => Body::Chunked,
            _ => Body::Unknown,
        }
    }

    /// `HTTP/1.1 200 OK`, the reason being a value like any other.
    #[inline(always)]
    fn status(&mut self, words: &impl Words) -> Option<()> {
        const CODE: u64 = 0xff_ffff;
        if words.word(0)? != u64::from_le_bytes(*b"HTTP/1.1") {
            return None;
        }
        let rest = words.word(WORD as u64)?;
        let code = rest >> 8 & CODE;
        let after = (rest >> 32) as u8;
        if rest as u8 != SPACE || !digits(code) & HIGH & CODE != 0 || (after != SPACE && after != CR) {
            return None;
        }
        let digit = |at: u32| (code >> (8 * at) & 0xf) as u32;
        self.status = digit(0) * 100 + digit(1) * 10 + digit(2);
        self.start = WORD as u64 + 4;
        (self.status >= 100).then_some(())
    }

    /// Between two lines, or in a name: the head ends, or a field goes on as far as its value, which is passed if it matters.
    #[inline(always)]
    fn field(&mut self, words: &impl Words) -> Option<Option<Step>> {
        let mut at = self.at;
        if self.place == place::LINE {
            let word = words.word(at)?;
            if word as u16 != CR_LF {
                return None;
            }
            at += CR_LF_LEN;
            if (word >> 16) as u16 == CR_LF {
                self.at = at + CR_LF_LEN;
                return Some(Some(Step::End));
            }
            self.start = at;
        }
        for _ in 0..NAME_WORDS {
            let word = words.word(at)?;
            let ends = name_ends(word);
            if ends != 0 {
                return self.name_end(words, word, First::of(ends), at);
            }
            at += WORD as u64;
        }
        self.at = at;
        self.place = place::NAME;
        Some(Some(Step::More))
    }

    /// A space in a name ends the scan: a folded line, or a name that proxies would change (RFC 9112 section 5).
    #[inline(always)]
    fn name_end(&mut self, words: &impl Words, word: u64, first: First, at: u64) -> Option<Option<Step>> {
        if first.byte(word) != b':' {
            return None;
        }
        let colon = at + first.count;
        match colon - self.start {
            0 => None,
            14 if self.is_length(words)? => {
                self.at = colon + 1;
                self.length(words).map(Some)
            }
            17 if self.is_encoding(words)? => {
                self.at = colon + 1;
                self.encoding(words).map(Some)
            }
            _ => Some(None),
        }
    }

    #[inline(always)]
    fn is_length(&self, words: &impl Words) -> Option<bool> {
        Some(self.has(words, 0, *b"content-")? && self.has(words, 6, *b"t-length")?)
    }

    #[inline(always)]
    fn is_encoding(&self, words: &impl Words) -> Option<bool> {
        let begins = self.has(words, 0, *b"transfer")? && self.has(words, 8, *b"-encodin")?;
        Some(begins && self.has(words, 9, *b"encoding")?)
    }

    /// Whether a field's name has these letters and dashes at an offset. Making all lower case changes no other character of
    /// a name into one of them.
    #[inline(always)]
    fn has(&self, words: &impl Words, offset: u64, text: [u8; WORD]) -> Option<bool> {
        Some(words.word(self.start + offset)? | LOWER == u64::from_le_bytes(text))
    }

    /// One space before a value, or none.
    #[inline(always)]
    fn skip_space(&mut self, words: &impl Words) -> Option<()> {
        if words.word(self.at)? as u8 == SPACE {
            self.at += 1;
        }
        Some(())
    }

    #[inline(always)]
    fn length(&mut self, words: &impl Words) -> Option<Step> {
        self.skip_space(words)?;
        let first = Number::decimal(words.word(self.at)?);
        self.at += first.digits;
        let mut len = first.value;
        if first.digits == WORD as u64 {
            let second = Number::decimal(words.word(self.at)?);
            self.at += second.digits;
            len = match second.digits {
                0 => len,
                1 => len * 10 + second.value,
                2 => len * 100 + second.value,
                _ => return None,
            };
        }
        let is_whole = words.word(self.at)? as u8 == CR;
        if first.digits == 0 || !is_whole || len > MAX_LEN || self.framing & HAS_LENGTH != 0 {
            return None;
        }
        self.len = len as u32;
        self.framing |= HAS_LENGTH;
        self.place = place::LINE;
        Some(Step::More)
    }

    #[inline(always)]
    fn encoding(&mut self, words: &impl Words) -> Option<Step> {
        self.skip_space(words)?;
        const CHUNKED: u64 = u64::from_le_bytes(*b"chunked-");
        let word = words.word(self.at)?;
        let is_whole = (word >> 56) as u8 == CR;
        // Lower case, the CR is a dash.
        if word | LOWER != CHUNKED || !is_whole || self.framing & IS_CHUNKED != 0 {
            return None;
        }
        self.at += WORD as u64 - 1;
        self.framing |= IS_CHUNKED;
        self.place = place::LINE;
        Some(Step::More)
    }
}

/// What a chunk's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The next chunk begins so many bytes after this one.
    Next(u32),
    /// It was the last, without trailers; so long was it.
    Last(u32),
    Unusual,
}

/// The chunk at offset 0. Extensions and trailers are unusual.
#[inline(always)]
#[must_use]
pub fn chunk(words: &impl Words) -> Chunk {
    read_chunk(words).unwrap_or(Chunk::Unusual)
}

#[inline(always)]
fn read_chunk(words: &impl Words) -> Option<Chunk> {
    let size = Number::hexadecimal(words.word(0)?);
    let after = words.word(size.digits)?;
    if size.digits == 0 || after as u16 != CR_LF || size.value > MAX_LEN {
        return None;
    }
    let head_len = size.digits + CR_LF_LEN;
    if size.value != 0 {
        return Some(Chunk::Next((head_len + size.value + CR_LF_LEN) as u32));
    }
    ((after >> 16) as u16 == CR_LF).then_some(Chunk::Last((head_len + CR_LF_LEN) as u32))
}

const LOWER_HALVES: u64 = 0x0f * ONES;

/// The digits that a word begins with.
struct Number {
    /// How many, up to eight.
    digits: u64,
    value: u64,
}

impl Number {
    #[inline(always)]
    const fn decimal(word: u64) -> Self {
        let (digits, bytes) = Self::align(word, digits(word));
        // Neighbours are joined: two digits in 16 bits, four in 32, eight in 64.
        let pairs = ((bytes & LOWER_HALVES).wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
        Self { digits, value: fours.wrapping_mul(42_949_672_960_001) >> 32 }
    }

    #[inline(always)]
    const fn hexadecimal(word: u64) -> Self {
        let (digits, bytes) = Self::align(word, hex_digits(word));
        // A letter's lower half is nine less than its value.
        let halves = (bytes & LOWER_HALVES) + ((bytes >> 6) & ONES) * 9;
        let pairs = (halves << 4 | halves >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs << 8 | pairs >> 16) & 0x0000_ffff_0000_ffff;
        Self { digits, value: (fours << 16 | fours >> 32) & 0xffff_ffff }
    }

    /// How many bytes a mask marks from the first on, and these as the last of a word that else is zero.
    #[inline(always)]
    const fn align(word: u64, marked: u64) -> (u64, u64) {
        let others = !marked & HIGH;
        if others == 0 {
            return (WORD as u64, word);
        }
        let count = First::of(others).count;
        if count == 0 {
            return (0, 0);
        }
        (count, word << ((8 * (WORD as u64 - count)) & 63))
    }
}

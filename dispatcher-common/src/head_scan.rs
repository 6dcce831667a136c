//! The scan of a request's head by which the class cache is filled and asked. It runs in the front-end's program and in the
//! control plane, line by line, over the same bytes.
//!
//! It accepts less than the slow path's parser: what it accepts is whole, has one `Host` and no body, asks for no other protocol,
//! expects nothing, and its field lines are beyond doubt. The request's line and the host are not judged but hashed, all bytes of them: an entry of the cache exists only
//! if the parser has accepted just these. So whoever finds one knows what the parser would say.

use crate::{
    siphash::{SipKey, SipStream},
    words::{First, HIGH, LOWER, Slice, controls, names, pass_value},
};

pub use crate::words::{BLOCK, WORD, Words};

/// Most field lines, as many as the slow path's parser takes.
pub const MAX_FIELDS: u32 = 100;

/// Longest head in bytes. The program's offsets have a bound, and few heads are longer.
pub const MAX_HEAD: usize = 2048;

/// Steps that suffice for any head in a segment of 1500 bytes: each field line takes one at least.
pub const MAX_STEPS: u32 = 256;

/// What a step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to look at.
    More,
    /// The head ends, and all of it is as it should be.
    End,
    /// Not a head that the scan accepts.
    Unusual,
}

impl Step {
    /// Goes on, as far as so many steps lead.
    #[inline(always)]
    pub(crate) fn repeat(most: usize, mut step: impl FnMut() -> Self) -> Self {
        for _ in 0..most {
            match step() {
                Self::More => {}
                end => return end,
            }
        }
        Self::More
    }
}

/// Where the scan is.
mod place {
    /// In the request's line.
    pub(super) const REQUEST: u32 = 0;
    /// At the CR that ends a line.
    pub(super) const LINE: u32 = 1;
    /// In a field's name.
    pub(super) const NAME: u32 = 2;
    /// In a field's value.
    pub(super) const VALUE: u32 = 3;
    /// In the value of `Host`.
    pub(super) const HOST: u32 = 4;
}

const CR: u8 = b'\r';
const CR_LF: u16 = u16::from_le_bytes(*b"\r\n");

/// Bytes of a line's beginning that are its end before.
const CR_LF_LEN: u64 = 2;

/// Words of a name that are looked at together: most names have less.
const NAME_WORDS: usize = 3;

/// Blocks of a field's line that are looked at together.
const VALUE_BLOCKS: usize = 2;

/// A scan under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    hash: SipStream,
    /// Offset of the next word.
    at: u64,
    /// Where what is scanned now began: the line, a name, the host.
    start: u64,
    /// First six bytes of the field's name, in lower case.
    name: u64,
    /// One of [`place`].
    place: u32,
    /// Field lines so far.
    fields: u32,
    request_len: u32,
    /// 0 until there was a `Host`.
    host_len: u32,
}

impl HeadScan {
    /// Starts a scan of the head that begins at an offset, whatever was scanned before. Written field by field: a whole value would
    /// be cleared by a call, byte by byte.
    #[inline(always)]
    pub fn start(&mut self, key: &SipKey, start: u64) {
        self.hash = SipStream::new(key);
        (self.at, self.start) = (start, start);
        (self.place, self.fields) = (place::REQUEST, 0);
        self.host_len = 0;
    }

    /// Goes on, by a line as long as that is of usual length.
    #[inline(always)]
    pub fn step(&mut self, words: &impl Words) -> Step {
        self.go_on(words).unwrap_or(Step::Unusual)
    }

    /// Goes on, as far as so many steps lead.
    #[inline(always)]
    pub fn steps(&mut self, most: usize, words: &impl Words) -> Step {
        Step::repeat(most, || self.step(words))
    }

    #[inline(always)]
    fn go_on(&mut self, words: &impl Words) -> Option<Step> {
        if matches!(self.place, place::LINE | place::NAME)
            && let Some(step) = self.field(words)?
        {
            return Some(step);
        }
        match self.place {
            place::VALUE => self.value(words)?,
            _ => self.absorb(words)?,
        }
        Some(Step::More)
    }

    /// The key in the class cache of a configured service, once the head has ended.
    #[inline(always)]
    #[must_use]
    pub fn key(&self, service: u8) -> u64 {
        let (request_len, host_len) = (self.request_len as u64, self.host_len as u64);
        // Both parts were padded to words, one at least; their lengths tell where each ends.
        let words = request_len / WORD as u64 + host_len / WORD as u64 + 2;
        let rest = service as u64 | request_len << 8 | host_len << 24;
        self.hash.finish(rest, words * WORD as u64 + 7)
    }

    /// Offset of what follows the head, once that has ended.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.at + 2 * CR_LF_LEN
    }

    #[inline(always)]
    fn value(&mut self, words: &impl Words) -> Option<()> {
        let mut at = self.at;
        for _ in 0..VALUE_BLOCKS {
            let passed = pass_value(words, at)?;
            at = passed.at;
            if passed.ends {
                self.place = place::LINE;
                break;
            }
        }
        self.at = at;
        Some(())
    }

    /// Hashes the request's line, or the host.
    #[inline(always)]
    fn absorb(&mut self, words: &impl Words) -> Option<()> {
        let (mut hash, mut at) = (self.hash, self.at);
        for _ in 0..BLOCK {
            let word = words.word(at)?;
            let controls = controls(word);
            if controls != 0 {
                let first = First::of(controls);
                hash.absorb(word & first.below);
                (self.hash, self.at) = (hash, at + first.count);
                return if first.byte(word) == CR { self.end_text() } else { None };
            }
            hash.absorb(word);
            at += WORD as u64;
        }
        (self.hash, self.at) = (hash, at);
        Some(())
    }

    /// At the CR behind what was hashed.
    #[inline(always)]
    fn end_text(&mut self) -> Option<()> {
        let len = (self.at - self.start) as u32;
        match self.place {
            place::REQUEST => self.request_len = len,
            _ => self.host_len = len,
        }
        self.place = place::LINE;
        (len != 0).then_some(())
    }

    /// Between two lines, or in a name: the head ends, or a field goes on as far as its value.
    #[inline(always)]
    fn field(&mut self, words: &impl Words) -> Option<Option<Step>> {
        let mut at = self.at;
        if self.place == place::LINE {
            let word = words.word(at)?;
            if word as u16 != CR_LF {
                return None;
            }
            let rest = word >> (8 * CR_LF_LEN);
            if rest as u16 == CR_LF {
                return (self.host_len != 0).then_some(Some(Step::End));
            }
            self.fields += 1;
            if self.fields > MAX_FIELDS {
                return None;
            }
            at += CR_LF_LEN;
            self.start = at;
            self.name = rest | LOWER;
        }
        for _ in 0..NAME_WORDS {
            let word = words.word(at)?;
            let others = !names(word) & HIGH;
            if others != 0 {
                return self.colon(word, First::of(others), at);
            }
            at += WORD as u64;
        }
        self.at = at;
        self.place = place::NAME;
        Some(Some(Step::More))
    }

    /// At the first byte that is not in a name.
    #[inline(always)]
    fn colon(&mut self, word: u64, first: First, at: u64) -> Option<Option<Step>> {
        if first.byte(word) != b':' {
            return None;
        }
        let colon = at + first.count;
        // From the line's beginning, not from its colon: the processor need not know yet where that is.
        self.at = self.start;
        self.place = place::VALUE;
        match colon - self.start {
            0 => return None,
            4 if self.name as u32 == u32::from_le_bytes(*b"host") => {
                if self.host_len != 0 {
                    return None;
                }
                (self.at, self.start) = (colon + 1, colon + 1);
                self.place = place::HOST;
            }
            // What leaves open whether HTTP goes on, or whether a body comes.
            6 if self.begins(*b"expect\0\0") => return None,
            7 if self.begins(*b"upgrad\0\0") => return None,
            // What tells of a body.
            14 if self.begins(*b"conten\0\0") => return None,
            17 if self.begins(*b"transf\0\0") => return None,
            _ => {}
        }
        Some(None)
    }

    #[inline(always)]
    fn begins(&self, name: [u8; 8]) -> bool {
        const SIX_BYTES: u64 = 0xffff_ffff_ffff;
        self.name & SIX_BYTES == u64::from_le_bytes(name)
    }
}

/// The key of a head in the class cache, for whoever has all its bytes. `bytes` may go on after the head, `limit` is the longest
/// head. `None` for a head that the scan does not accept.
#[must_use]
pub fn key_of(key: &SipKey, service: u8, bytes: &[u8], limit: usize) -> Option<u64> {
    scan(key, service, bytes, limit).map(|(key, _)| key)
}

/// The same, and the length of the head in bytes.
#[must_use]
pub fn scan(key: &SipKey, service: u8, bytes: &[u8], limit: usize) -> Option<(u64, usize)> {
    let bytes = Slice(bytes.get(..limit.min(MAX_HEAD)).unwrap_or(bytes));
    let mut scan = HeadScan::default();
    scan.start(key, 0);
    for _ in 0..MAX_STEPS {
        match scan.step(&bytes) {
            Step::More => {}
            Step::End => return Some((scan.key(service), scan.end() as usize)),
            Step::Unusual => return None,
        }
    }
    None
}

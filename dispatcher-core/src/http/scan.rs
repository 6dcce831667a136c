//! The strict first pass over a request head: finds its end and the first byte that breaks the grammar of
//! RFC 9112. Owns characters, line ends and versions; what the fields mean is `framing` and `host`.
//!
//! The pass looks at bytes in order and stops at the first violation, so a prefix of a head is refused exactly
//! when, and as, the whole would be: garbage is known at once, and the way a head is cut changes nothing.

use super::Refusal;

/// Longest method. The longest registered one (`BASELINE-CONTROL`) has 16 bytes.
pub const MAX_METHOD_BYTES: usize = 32;

/// Most field lines of a head. Browsers send about 20; nginx and Apache stop at 100.
pub const MAX_FIELDS: usize = 100;

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const VALUE: u8 = 4;

/// Which sets each byte belongs to.
static SETS: [u8; 256] = sets();

const fn sets() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || is_token_mark(b) {
            table[byte] |= TOKEN;
        }
        if b.is_ascii_graphic() && b != b'#' {
            table[byte] |= TARGET;
        }
        if b.is_ascii_graphic() || b == b' ' || b == b'\t' || b >= 0x80 {
            table[byte] |= VALUE;
        }
        byte += 1;
    }
    table
}

const fn is_token_mark(b: u8) -> bool {
    matches!(
        b,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    )
}

/// Whether `b` may stand in a token (RFC 9110 5.6.2).
pub(crate) fn is_token(b: u8) -> bool {
    SETS[usize::from(b)] & TOKEN != 0
}

/// Why the pass stopped before the end of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes ended first.
    Short,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where a head begins and ends in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// 0, or 2 after one empty line that RFC 9112 2.2 lets a client send before the request.
    pub(super) start: usize,
    /// First byte of the field lines.
    pub(super) fields: usize,
    /// First byte after the empty line that ends the head.
    pub(super) end: usize,
}

/// Runs over `bytes` to the end of the head.
pub(super) fn scan(bytes: &[u8]) -> Result<Extent, Stop> {
    let start = if bytes.first() == Some(&b'\r') { line_end(bytes, 0)? } else { 0 };
    let target = method(bytes, start)?;
    let version = request_target(bytes, target)?;
    let fields = protocol(bytes, version)?;
    let mut at = fields;
    for _ in 0..=MAX_FIELDS {
        if byte(bytes, at)? == b'\r' {
            return Ok(Extent { start, fields, end: line_end(bytes, at)? });
        }
        at = field_line(bytes, at)?;
    }
    Err(Refusal::TooManyFields.into())
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Stop> {
    bytes.get(at).copied().ok_or(Stop::Short)
}

/// The index of the first byte from `at` on that is not in `set`.
fn skip(bytes: &[u8], at: usize, set: u8) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| SETS[usize::from(b)] & set == 0).unwrap_or(rest.len())
}

/// Takes the CR LF at `at`; a CR is known to be there.
fn line_end(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    match byte(bytes, at + 1)? {
        b'\n' => Ok(at + 2),
        _ => Err(Refusal::BareCr.into()),
    }
}

fn method(bytes: &[u8], start: usize) -> Result<usize, Stop> {
    let end = skip(bytes, start, TOKEN);
    if end - start > MAX_METHOD_BYTES {
        return Err(Refusal::MethodTooLong.into());
    }
    match byte(bytes, end)? {
        b' ' if end > start => Ok(end + 1),
        b'\n' => Err(Refusal::BareLf.into()),
        _ => Err(Refusal::Method.into()),
    }
}

fn request_target(bytes: &[u8], start: usize) -> Result<usize, Stop> {
    let end = skip(bytes, start, TARGET);
    match byte(bytes, end)? {
        b' ' if end > start => Ok(end + 1),
        b'\r' if end > start => Err(Refusal::VersionSyntax.into()),
        b'\n' => Err(Refusal::BareLf.into()),
        _ => Err(Refusal::TargetCharacter.into()),
    }
}

fn protocol(bytes: &[u8], start: usize) -> Result<usize, Stop> {
    for (i, &expected) in b"HTTP/".iter().enumerate() {
        if byte(bytes, start + i)? != expected {
            return Err(Refusal::VersionSyntax.into());
        }
    }
    let (major, dot, minor) = (byte(bytes, start + 5)?, byte(bytes, start + 6), byte(bytes, start + 7));
    if !major.is_ascii_digit() || dot? != b'.' || !minor?.is_ascii_digit() {
        return Err(Refusal::VersionSyntax.into());
    }
    match byte(bytes, start + 8)? {
        b'\r' => {}
        b'\n' => return Err(Refusal::BareLf.into()),
        _ => return Err(Refusal::VersionSyntax.into()),
    }
    if major != b'1' || !matches!(minor?, b'0' | b'1') {
        return Err(Refusal::Version.into());
    }
    line_end(bytes, start + 8)
}

fn field_line(bytes: &[u8], start: usize) -> Result<usize, Stop> {
    let colon = skip(bytes, start, TOKEN);
    match byte(bytes, colon)? {
        b':' if colon > start => {}
        b' ' | b'\t' if colon == start => return Err(Refusal::Fold.into()),
        b' ' | b'\t' => return Err(Refusal::SpaceBeforeColon.into()),
        b'\n' => return Err(Refusal::BareLf.into()),
        _ => return Err(Refusal::FieldName.into()),
    }
    let end = skip(bytes, colon + 1, VALUE);
    match byte(bytes, end)? {
        b'\r' => line_end(bytes, end),
        b'\n' => Err(Refusal::BareLf.into()),
        _ => Err(Refusal::FieldValue.into()),
    }
}

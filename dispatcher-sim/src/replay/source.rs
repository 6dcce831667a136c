//! Where logs come from: files, plain or compressed by gzip, and standard input.
//! Owns how compression is recognised; lines are `line`'s.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

const BUFFER_BYTES: usize = 256 * 1024;

/// First bytes of what gzip has compressed.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a log; `-` is standard input. What gzip has compressed is known by its first bytes, whatever its name.
///
/// # Errors
/// When it cannot be opened or read.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return decompressed(BufReader::with_capacity(BUFFER_BYTES, io::stdin()));
    }
    decompressed(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?))
}

fn decompressed(mut log: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    if log.fill_buf()?.starts_with(&GZIP_MAGIC) {
        let decoder = MultiGzDecoder::new(log);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)));
    }
    Ok(Box::new(log))
}

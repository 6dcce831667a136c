//! The body of a request: its length and digest.

use std::io::{self, BufRead};

use super::request::{Request, line, odd};
use crate::digest::Digest;

/// Reads the whole body, if there is one.
pub(super) fn read(request: &Request, reader: &mut impl BufRead) -> io::Result<(u64, u32)> {
    let mut digest = Digest::new();
    let mut length = 0;
    if request.header("transfer-encoding").is_some() {
        loop {
            let size = line(reader)?;
            let size = u64::from_str_radix(&size, 16).map_err(|_| odd(&size))?;
            portion(reader, size, &mut digest)?;
            length += size;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(size) = request.header("content-length") {
        length = size.parse().map_err(|_| odd(size))?;
        portion(reader, length, &mut digest)?;
    }
    Ok((length, digest.value()))
}

fn portion(reader: &mut impl BufRead, mut left: u64, digest: &mut Digest) -> io::Result<()> {
    while left > 0 {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        digest.add(&bytes[..count]);
        reader.consume(count);
        left -= count as u64;
    }
    Ok(())
}

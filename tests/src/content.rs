//! What servers serve below /bytes/: pseudo-random bytes that depend on their offset alone, so that a test can
//! check any part of a body without a copy of the whole. All files are prefixes of the same stream.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};

/// Names and sizes in bytes of the files below /bytes/.
pub const FILES: [(&str, u64); 6] =
    [("4", 4), ("1k", 1 << 10), ("8k", 8 << 10), ("64k", 64 << 10), ("1m", 1 << 20), ("100m", 100 << 20)];

/// Fills `bytes` with the stream's content from `offset` on.
pub fn fill(offset: u64, bytes: &mut [u8]) {
    let mut position = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let word = word(position / 8).to_le_bytes();
        let from = (position % 8) as usize;
        let count = rest.len().min(8 - from);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&word[from..from + count]);
        position += count as u64;
        rest = later;
    }
}

/// Offset of the first byte of `bytes` that is not the stream's content from `offset` on.
#[must_use]
pub fn first_difference(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut expected = [0; 4096];
    for (index, part) in bytes.chunks(expected.len()).enumerate() {
        let start = offset + (index * expected.len()) as u64;
        fill(start, &mut expected[..part.len()]);
        if let Some(at) = part.iter().zip(&expected).position(|(got, want)| got != want) {
            return Some(start + at as u64);
        }
    }
    None
}

/// Size in bytes of `/bytes/<name>`, if there is such a file.
#[must_use]
pub fn size_of_file(name: &str) -> Option<u64> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, size)| *size)
}

pub(crate) fn write_files(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, size) in FILES {
        let path = directory.join(name);
        write_file(&path, size)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
    }
    Ok(())
}

fn write_file(path: &Path, size: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for index in 0..size / 8 {
        file.write_all(&word(index).to_le_bytes())?;
    }
    file.write_all(&word(size / 8).to_le_bytes()[..(size % 8) as usize])?;
    file.flush()
}

/// SplitMix64 (Steele, Lea, Flood 2014), which can start anywhere.
fn word(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_the_stream_is_the_same_as_in_the_whole() {
        let mut whole = [0; 100];
        fill(0, &mut whole);
        for from in 0..100 {
            let mut part = vec![0; 100 - from];
            fill(from as u64, &mut part);
            assert_eq!(part, whole[from..]);
        }
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let mut bytes = vec![0; 10_000];
        fill(3, &mut bytes);
        assert_eq!(first_difference(3, &bytes), None);
        bytes[9_000] ^= 1;
        assert_eq!(first_difference(3, &bytes), Some(9_003));
    }
}

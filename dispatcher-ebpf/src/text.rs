//! Text that was copied from a packet into a map, to be scanned by words: one call of a helper for all of it, and then no check of
//! bounds but a mask. What it says is the scans' in `dispatcher_common`.

use core::hint::black_box;

use dispatcher_common::words::{BLOCK, WORD, Words};

const BLOCK_LEN: usize = BLOCK * WORD;

/// A power of two above [`Text::MAX_LEN`], so that a mask changes no offset of the text.
const ROOM: usize = 2 * Text::MAX_LEN;

/// Offsets below it are left as they are, and in bounds under the verifier's eyes.
const MASK: u64 = ROOM as u64 - 1;

/// The text from its first byte on, and zeroes behind it. What comes after them is of some text before.
#[repr(C)]
#[derive(Debug)]
pub struct Text([u8; ROOM + BLOCK_LEN]);

/// A word at any address.
#[repr(C, packed)]
struct Unaligned(u64);

impl Text {
    /// Longest text in bytes.
    pub const MAX_LEN: usize = 2048;

    /// Takes `len` bytes, 1 to [`MAX_LEN`](Self::MAX_LEN), which `copy` writes to where it is told, as many as it is told; tells
    /// whether it could.
    #[inline(always)]
    pub fn take(&mut self, len: u32, copy: impl FnOnce(*mut u8, u32) -> bool) -> bool {
        if len == 0 || len > Self::MAX_LEN as u32 {
            return false;
        }
        // The same number. LLVM makes one compare of both, from which the verifier does not learn that it is not zero.
        let len = (black_box(len - 1) & (Self::MAX_LEN as u32 - 1)) + 1;
        let text = self.0.as_mut_ptr();
        for word in 0..BLOCK {
            // SAFETY: a block has room behind the longest text. Volatile, or it would be a call that does it byte by byte.
            unsafe { text.add(len as usize + word * WORD).cast::<Unaligned>().write_volatile(Unaligned(0)) };
        }
        copy(text, len)
    }

    #[inline(always)]
    fn read<T: Copy>(&self, at: u64) -> T {
        const { assert!(size_of::<T>() <= BLOCK_LEN && ROOM.is_power_of_two() && ROOM > Self::MAX_LEN) };
        // SAFETY: words; the masked offset has room for a block behind it.
        unsafe { self.0.as_ptr().add((at & MASK) as usize).cast::<T>().read_unaligned() }
    }
}

impl Words for Text {
    #[inline(always)]
    fn word(&self, at: u64) -> Option<u64> {
        Some(u64::from_le(self.read(at)))
    }

    #[inline(always)]
    fn block(&self, at: u64) -> Option<[u64; BLOCK]> {
        Some(self.read::<[u64; BLOCK]>(at).map(u64::from_le))
    }
}

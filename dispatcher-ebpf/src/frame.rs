//! Bounds-checked access to a frame, in the one form that the verifier follows: each access compares its own end with the
//! frame's. Made anew after every helper that moves the frame's ends.

use crate::header::Plain;

/// The bytes from the Ethernet header to the end of what the driver received, padding included.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// A frame between two addresses.
    ///
    /// # Safety
    ///
    /// All bytes between must stay readable and writable for as long as the frame is used, and no reference to them may exist.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Its length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Reads what lies at an offset, if the frame is long enough.
    #[inline(always)]
    #[must_use]
    pub fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        // SAFETY: the pointer is in bounds by `pointer`, `Plain` types have no invalid bit patterns.
        self.pointer::<T>(offset).map(|pointer| unsafe { pointer.read_unaligned() })
    }

    /// Writes at an offset, if the frame is long enough.
    #[inline(always)]
    #[must_use]
    pub fn write<T: Plain>(&self, offset: usize, value: T) -> Option<()> {
        // SAFETY: the pointer is in bounds by `pointer`, and nothing else refers to these bytes by the contract of `new`.
        self.pointer::<T>(offset).map(|pointer| unsafe { pointer.write_unaligned(value) })
    }

    #[inline(always)]
    fn pointer<T>(&self, offset: usize) -> Option<*mut T> {
        // LLVM makes `at + 1 > end` into `at >= end`, from which the verifier learns nothing.
        const { assert!(size_of::<T>() > 1, "read a single byte as part of two") };
        let at = self.start + offset;
        if at + size_of::<T>() > self.end { None } else { Some(at as *mut T) }
    }
}

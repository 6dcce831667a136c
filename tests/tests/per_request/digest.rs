//! A checksum of bodies, FNV-1a of 32 bits: a browser's script can calculate it as well.

/// Of bytes in portions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u32);

impl Digest {
    pub(crate) const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    pub(crate) const fn value(self) -> u32 {
        self.0
    }
}

/// Of all bytes at once.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    let mut digest = Digest::new();
    digest.add(bytes);
    digest.value()
}

#[test]
fn the_digest_is_fnv_1a() {
    // From the test vectors of Fowler, Noll and Vo.
    assert_eq!(of(b""), 0x811c_9dc5);
    assert_eq!(of(b"foobar"), 0xbf9c_f968);
}

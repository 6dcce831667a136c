//! What the program tells the control plane of each request that it dispatched, in a ring for each CPU. The program never waits:
//! records that nobody has read in time are written over.

/// Records of one CPU: more than it can dispatch in a tick of the control plane.
pub const RECORDS_PER_CPU: usize = 1 << 13;

/// Which request of its connection one is.
pub mod further {
    /// The first one, which admits a flow.
    pub const NOT: u8 = 0;
    /// A later one.
    pub const ADDED: u8 = 1;
    /// A later one that takes the place of the one before in its server's load: see
    /// [`is_counted`](crate::per_request::is_counted).
    pub const IN_PLACE: u8 = 2;
}

/// A dispatched request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchRecord {
    /// See the decision core's `ClassMap::target`.
    pub target: u64,
    /// Expected service time, as it was added to the server's account.
    pub work_us: u32,
    pub class: u16,
    pub server: u16,
    /// The configured service.
    pub owner: u8,
    pub priority: u8,
    /// One of [`super::outcome`].
    pub outcome: u8,
    /// One of [`further`].
    pub further: u8,
    pub reserved2: u32,
}

const _: () = assert!(size_of::<DispatchRecord>() == 24);

/// How many records a CPU has written, modulo 2^64; on a cache line of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHead {
    pub written: u64,
    pub reserved: [u64; 7],
}

const _: () = assert!(size_of::<RecordHead>() == 64);

impl DispatchRecord {
    /// Words of a record.
    pub const WORDS: usize = size_of::<Self>() / size_of::<u64>();

    /// As it lies in the map.
    #[must_use]
    pub const fn words(&self) -> [u64; Self::WORDS] {
        let ([a, b, c, d], [e, f], [g, h]) =
            (self.work_us.to_ne_bytes(), self.class.to_ne_bytes(), self.server.to_ne_bytes());
        let third = [self.owner, self.priority, self.outcome, self.further, 0, 0, 0, 0];
        [self.target, u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(third)]
    }

    /// From the words of the map.
    #[must_use]
    pub const fn from_words([target, second, third]: [u64; Self::WORDS]) -> Self {
        let [a, b, c, d, class0, class1, server0, server1] = second.to_ne_bytes();
        let [owner, priority, outcome, further, ..] = third.to_ne_bytes();
        Self {
            target,
            work_us: u32::from_ne_bytes([a, b, c, d]),
            class: u16::from_ne_bytes([class0, class1]),
            server: u16::from_ne_bytes([server0, server1]),
            owner,
            priority,
            outcome,
            further,
            reserved2: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_record() {
        let record = DispatchRecord {
            target: 0x0102_0304_0506_0708,
            work_us: 0x1112_1314,
            class: 0x2122,
            server: 0x3132,
            owner: 0x41,
            priority: 0x42,
            outcome: 0x43,
            further: 0x44,
            ..DispatchRecord::default()
        };
        // SAFETY: of the same size, without padding.
        let words = unsafe { std::mem::transmute::<DispatchRecord, [u64; 3]>(record) };
        assert_eq!((DispatchRecord::from_words(words), record.words()), (record, words));
    }
}

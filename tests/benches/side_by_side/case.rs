//! What is asked for.

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Tiny,
    Connections,
    Medium,
    Large,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [Self::Tiny, Self::Connections, Self::Medium, Self::Large];

    /// DISPATCHER_CASES takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        tests::chosen("DISPATCHER_CASES", Self::ALL)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny, kept connections",
            Self::Connections => "tiny, a connection a request",
            Self::Medium => "64 KB",
            Self::Large => "1 MB",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Tiny | Self::Connections => "/tiny",
            Self::Medium => "/bytes/64k",
            Self::Large => "/bytes/1m",
        }
    }

    /// Of the response's body, where it is what counts.
    pub(crate) const fn bytes(self) -> Option<u64> {
        match self {
            Self::Tiny | Self::Connections => None,
            Self::Medium => Some(64 << 10),
            Self::Large => Some(1 << 20),
        }
    }

    pub(crate) const fn connections(self) -> u32 {
        match self {
            Self::Connections => 32,
            _ => 16,
        }
    }

    pub(crate) const fn close(self) -> bool {
        matches!(self, Self::Connections)
    }
}

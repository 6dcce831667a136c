//! What is asked for, on connections that are kept.

/// A kind of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Tiny,
    Medium,
}

impl Case {
    pub(crate) const ALL: [Self; 2] = [Self::Tiny, Self::Medium];

    /// DISPATCHER_CASES takes some of them, by their numbers from 0.
    pub(crate) fn chosen() -> Vec<Self> {
        tests::chosen("DISPATCHER_CASES", Self::ALL)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Medium => "64 KB",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Tiny => "/tiny",
            Self::Medium => "/bytes/64k",
        }
    }
}

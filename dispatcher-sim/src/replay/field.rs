//! What a line of a log says, whatever its format.
//! Reading it is `line`'s and `json`'s, time stamps are `stamp`'s.

use std::borrow::Cow;

/// The fields of a line that a replay needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields<'a> {
    /// When.
    pub(super) stamp: Stamp<'a>,
    /// Method and target.
    pub(super) request: Cow<'a, str>,
    /// Host, where the log has it.
    pub(super) host: Option<Cow<'a, str>>,
    /// Bytes of the response; 0 where the log has none.
    pub(super) bytes: u64,
}

/// A time stamp.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stamp<'a> {
    /// As text.
    Text(Cow<'a, str>),
    /// Seconds since 1970.
    Seconds(i64),
}

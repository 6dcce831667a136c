//! Rules that can be switched off, to show that the model notices.

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nothing.
    None,
    /// A server takes its connection for free whatever number of responses it has seen.
    FreeWhileUnanswered,
    /// A server takes its connection for free before the client has acknowledged all that was written.
    FreeWhileUnacknowledged,
    /// A server takes its connection for free in the middle of a response.
    FreeInsideResponse,
    /// A server sends the request back while its socket still lives.
    ReleaseBeforeDead,
    /// A server sends the request back whatever it acknowledges.
    ReleaseWhateverAck,
    /// A server releases although it has sent something since.
    ReleaseThoughSpoilt,
    /// A server's kernel may reset a connection that was released.
    ResetWhileGoing,
    /// The front-end hands over whatever was released, to the server that the ticket names.
    TakeStale,
    /// The front-end takes a release while the slow path has a request of the flow, and the slow path writes what it had read.
    TakeWhileAsked,
    /// A pipelined request takes the place of a request that has no response yet.
    TakeOverUnanswered,
    /// A books ticket for a request that was released is only returned.
    BooksNotReleased,
    /// A late SYN of the connection itself is noted.
    NoteOwnSyn,
    /// A server does not know earlier hand-offs.
    ForgetEarlier,
}

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
    /// A server's kernel may reset a new connection, of which it has no socket yet, once that of an older one had to go.
    ResetNewcomer,
    /// The front-end hands over whatever was released, to the server that the ticket names.
    TakeStale,
    /// The front-end takes a release while the slow path has a request of the flow, and the slow path writes what it had read.
    TakeWhileAsked,
    /// The slow path writes the filter of a flow that is followed, although the program may dispatch its next request.
    WriteWhileFollowed,
    /// The slow path writes a filter while the program may take a release.
    WriteWhileLeaving,
    /// The program hands a released request over again while the slow path may be writing a filter that it read before the release.
    HandOverWhileAsked,
    /// The slow path sends a ticket although it could not write the filter that tells of it.
    TicketUntold,
    /// The slow path sends a request again with its ticket whatever it acknowledges by now.
    RepeatWhateverAck,
    /// A pipelined request takes the place of a request that has no response yet.
    TakeOverUnanswered,
    /// A books ticket for a request that was released is only returned.
    BooksNotReleased,
    /// A late SYN of the connection itself is noted.
    NoteOwnSyn,
    /// A server does not know earlier hand-offs.
    ForgetEarlier,
}

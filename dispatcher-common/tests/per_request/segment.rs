//! Segments, and bytes that know what they are: the model's requests and responses have no text, but each byte says of which message
//! it is and where in it. Nothing here decides anything.

use dispatcher_common::{filter::opaque, ticket::Ticket};

/// What a byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    /// A request whose body's end the front-end cannot tell.
    ChunkedRequest,
    Response,
    /// A response whose end only the end of the connection tells.
    EndlessResponse,
    /// A response of status 100: a head, and another response follows.
    Interim,
    /// What a server says unasked before it closes an idle connection: status 408.
    Timeout,
}

/// One byte of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Byte {
    pub(crate) connection: u32,
    pub(crate) kind: Kind,
    /// Number of the request in its connection.
    pub(crate) request: u16,
    /// Who made it; of a request's bytes 0.
    pub(crate) server: u8,
    /// Offset in its message.
    pub(crate) at: u16,
    /// Bytes of the message's head.
    pub(crate) head: u16,
    /// Bytes of the message.
    pub(crate) total: u16,
}

/// A message as bytes; `first` is its first one.
pub(crate) fn message(first: Byte) -> impl Iterator<Item = Byte> {
    (0..first.total).map(move |at| Byte { at, ..first })
}

/// The hop limit that a client's segment arrives with: small, so that what goes round ends soon.
pub(crate) const HOPS: u8 = 6;

/// A TCP segment in its packet.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Truth about the connection that it belongs to; for the judges only, no participant decides by it.
    pub(crate) connection: u32,
    pub(crate) seq: u32,
    /// `None` without the ACK flag.
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    /// Bytes that its sender has room for.
    pub(crate) window: u32,
    pub(crate) hops: u8,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) data: Vec<Byte>,
}

impl Segment {
    pub(crate) fn new(connection: u32, seq: u32, ack: Option<u32>) -> Self {
        Self {
            connection,
            seq,
            ack,
            syn: false,
            fin: false,
            rst: false,
            window: 1 << 16,
            hops: HOPS,
            ticket: None,
            data: Vec::new(),
        }
    }

    /// The reset that is exact for whoever sent a segment.
    pub(crate) fn reset_for(segment: &Self) -> Self {
        Self { rst: true, ..Self::new(segment.connection, segment.ack.unwrap_or(0), None) }
    }

    pub(crate) fn acknowledged(&self) -> u32 {
        self.ack.unwrap_or(0)
    }

    /// Sequence number after its data.
    pub(crate) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.data.len() as u32)
    }
}

/// What the front-end reads in data that begins with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Requests that begin in the data.
    pub(crate) requests: u32,
    /// Offset at which the next one may start, or why that is not known.
    pub(crate) next: Result<u32, u8>,
}

/// Reads data that is to begin with a request.
pub(crate) fn survey(data: &[Byte]) -> Survey {
    let mut requests = 0;
    let mut offset = 0;
    while let Some(byte) = data.get(offset) {
        if byte.at != 0 {
            return Survey { requests, next: Err(opaque::MALFORMED) };
        }
        requests += 1;
        if offset + byte.head as usize > data.len() {
            return Survey { requests, next: Err(opaque::SPLIT) };
        }
        if byte.kind == Kind::ChunkedRequest {
            return Survey { requests, next: Err(opaque::CHUNKED) };
        }
        offset += byte.total as usize;
    }
    Survey { requests, next: Ok(offset as u32) }
}

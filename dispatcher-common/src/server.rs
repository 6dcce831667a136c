//! Servers: where the front-end sends to, and what a server's own program keeps of the flows it was handed.

use crate::path_state::PathState;

/// The link-layer addresses of packets to a server: the twelve bytes that a known flow's segment gets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerEntry {
    /// The server's MAC address.
    pub mac: [u8; 6],
    /// The front-end's own, on the interface towards the servers.
    pub source_mac: [u8; 6],
    /// 1 once `mac` is known, else 0.
    pub usable: u32,
}

const _: () = assert!(size_of::<ServerEntry>() == 16);

impl ServerEntry {
    /// The twelve bytes as they begin a frame.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 3] {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.mac, self.source_mac);
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]), u32::from_ne_bytes([i, j, k, l])]
    }
}

/// What the front-end sent to a server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    /// Link-layer bytes.
    pub bytes: u64,
}

/// Phases of a [`ServerFlow`].
pub mod phase {
    /// A request is here, its response has not begun.
    pub const WAITING: u8 = 1;
    /// The response has begun, or the connection is idle.
    pub const ANSWERED: u8 = 2;
    /// The connection has ended; the entry stays for a while to know a replayed ticket.
    pub const CLOSED: u8 = 3;
    /// The connection is to be released: its socket was free and is being retired; see [`crate::per_request`].
    pub const RETIRING: u8 = 4;
    /// The connection was released, another server has it.
    pub const RELEASED: u8 = 5;

    /// Name of a phase for people.
    #[must_use]
    pub const fn name(phase: u8) -> &'static str {
        match phase {
            WAITING => "waiting",
            ANSWERED => "answered",
            CLOSED => "closed",
            RETIRING => "retiring",
            RELEASED => "released",
            _ => "unknown",
        }
    }
}

/// How far a server's programs follow the responses of a connection: [`ServerFlow::framing`].
pub mod framing {
    /// Not at all: the front-end does not follow the requests.
    pub const OFF: u8 = 0;
    /// A response's head begins at [`ServerFlow::next_at`](super::ServerFlow::next_at): if as much was sent, all responses are
    /// complete of which the head was seen.
    pub const HEAD: u8 = 1;
    /// A chunk begins there (RFC 9112 section 7.1).
    pub const CHUNK: u8 = 2;
    /// Where the response ends cannot be told, so the connection is never free again.
    pub const LOST: u8 = 3;

    /// Name for people.
    #[must_use]
    pub const fn name(framing: u8) -> &'static str {
        match framing {
            OFF => "off",
            HEAD => "head",
            CHUNK => "chunk",
            LOST => "lost",
            _ => "unknown",
        }
    }
}

/// Requests under way on one connection of which the class is remembered.
pub const CLASSES_REMEMBERED: usize = 8;

/// A flow that a server was handed. Times are nanoseconds of the server's coarse monotonic clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFlow {
    /// When the current request arrived.
    pub started_ns: u64,
    pub last_seen_ns: u64,
    /// Sequence and acknowledgement number of the ticket's segment, host byte order.
    pub handoff_seq: u32,
    pub handoff_ack: u32,
    /// Requests that the server held when the current one arrived, itself included.
    pub held_at_arrival: u32,
    pub class: u16,
    /// One of [`phase`].
    pub phase: u8,
    /// 1 once the server's socket has sent anything, else 0.
    pub responded: u8,
    /// Sequence number of the server where its next response head or chunk begins; see [`framing`].
    pub next_at: u32,
    /// Sequence number of the segment for which the connection was, or is to be, released: [`phase::RETIRING`] and
    /// [`phase::RELEASED`].
    pub release_seq: u32,
    /// Which of the requests under way are `HEAD`, by number modulo 32: their responses have no body.
    pub heads: u32,
    /// One of [`framing`].
    pub framing: u8,
    /// Number after the latest request that arrived with a ticket.
    pub arrived: u8,
    /// Number of the request whose response's head comes next.
    pub answered: u8,
    /// Of the path to the client, as the server before has told it; once the connection is released, as this one tells it.
    pub path: PathState,
    /// Classes of the requests under way, by number modulo [`CLASSES_REMEMBERED`].
    pub classes: [u16; CLASSES_REMEMBERED],
    /// Sequence numbers of earlier hand-offs of this connection to this server, latest first: a late copy of one is known.
    pub earlier: [u32; 4],
}

const _: () = assert!(size_of::<ServerFlow>() == 80);

/// Requests of one class at a server, cumulative, on one CPU. Held now = arrived − answered − abandoned over all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Requests that arrived: by ticket, or later ones on a kept connection.
    pub arrived: u64,
    /// Requests whose response has begun.
    pub answered: u64,
    /// Requests whose connection ended without a response.
    pub abandoned: u64,
    /// Sum over the answered ones of (first response byte − arrival) / requests held at arrival.
    pub service_ns: u64,
}

const _: () = assert!(size_of::<ClassStats>() == 32);

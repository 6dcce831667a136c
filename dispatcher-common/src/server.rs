//! Servers: where the front-end sends to, and what a server's own program keeps of the flows it was handed.

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

    /// Name of a phase for people.
    #[must_use]
    pub const fn name(phase: u8) -> &'static str {
        match phase {
            WAITING => "waiting",
            ANSWERED => "answered",
            CLOSED => "closed",
            _ => "unknown",
        }
    }
}

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
}

const _: () = assert!(size_of::<ServerFlow>() == 32);

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
